"""Outcomes: how well each model answered each prompt, and at what cost.  Trainers learn from them."""

from asyncrouter.lab.outcomes.loading import load, read
from asyncrouter.lab.outcomes.table import Outcomes, concat

__all__ = ["Outcomes", "concat", "load", "read"]
