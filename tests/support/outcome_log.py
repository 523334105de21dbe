"""Rows of an outcome log, and a writer for them."""

from __future__ import annotations

from asyncrouter.telemetry.outcomes import LoggedCall
from asyncrouter.telemetry.outcomes import writer as writing

PROMPT = "PROMPT-SENTINEL tell nobody"


def call(number=0, **fields):
    return LoggedCall(id=f"r{number}", at=float(number), group="chat", outcome="answered", **fields)


def writer(path, **options):
    return writing.Writer(
        path, **{"capacity": 100, "keep_rows": None, "keep_days": None, "clock": lambda: 5.0, **options}
    )
