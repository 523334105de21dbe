"""One attempt to make: what the course of a request decides and the drivers carry out."""

from __future__ import annotations

import math

import attrs

from asyncrouter.engine.route import Route
from asyncrouter.types.deployments import Deployment
from asyncrouter.types.trace import AttemptKind


@attrs.define(eq=False)  # never changed, yet not frozen: that costs three times as much to make, once a call
class Step:
    """One attempt to make.  ``passed``: it has a pass, for its turn has come or every deployment is set aside.

    ``budgeted``: it draws on the shared retry budget when it begins, whatever its kind.
    ``keys_left``: of a repeat with another key, how many others stood ready; with each repeat it must be fewer.
    ``same``: it is made at once in place of the one before, and counts as the same attempt.
    """

    deployment: Deployment
    route: Route
    kind: AttemptKind
    reason: str = ""
    passed: bool = False
    budgeted: bool = False
    keys_left: float = math.inf
    same: bool = False
