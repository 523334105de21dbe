"""The run in words and numbers: the table, the totals, and the JSON document."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
from rich.cells import cell_len

from asyncrouter.cli.documents import attempt_document
from asyncrouter.examples.demo.record import Call, Run, Way, quantile
from asyncrouter.types.trace import Attempt, Outcome

COLUMNS = ("#", "prompt", "how", "complexity", "deployment", "attempts", "tokens", "latency")
PROMPT_WIDTH = 30
"""Columns of a terminal; a Chinese character takes two."""
DIGITS = 3
"""Decimals of the JSON document's seconds."""


def shortened(text: str, width: int) -> str:
    """Return the first line's worth of *text* that fits into *width* columns of a terminal, "…" where it was cut."""
    text = " ".join(text.split())
    if cell_len(text) <= width:
        return text
    while cell_len(text) >= width:
        text = text[:-1]
    return text.rstrip() + "…"


def table_rows(run: Run) -> Iterator[tuple[str, ...]]:
    """Yield one row of :data:`COLUMNS` for each call, in the order of the prompts."""
    for call in run.calls:
        response = call.response
        yield (
            str(call.task.number),
            shortened(call.task.text, PROMPT_WIDTH),
            call.task.way,
            "-" if call.complexity is None else f"{call.complexity:.2f}",
            "LOST" if response is None else response.deployment,
            told_attempts(call.attempts),
            "-" if response is None else f"{response.usage.input_tokens} + {response.usage.output_tokens}",
            f"{call.latency_s:.2f} s",
        )


def told_attempts(attempts: tuple[Attempt, ...]) -> str:
    """Return how many there were, and how many of them failed."""
    failed = sum(attempt.outcome is Outcome.FAILED for attempt in attempts)
    return f"{len(attempts)} ({failed} failed)" if failed else str(len(attempts))


def total_lines(run: Run) -> Iterator[str]:
    """Yield the totals, one line each; the last is ``lost: N``, and nothing before it begins so."""
    numbers = totals(run)
    streamed = sum(task.stream for task in run.tasks)
    with_tools = sum("tools" in task.params for task in run.tasks)
    outage = run.outage
    yield (
        f"prompts: {len(run.tasks)} in {run.duration_s:.1f} s, {run.concurrency} at once; "
        f"{streamed} streamed, {with_tools} with tools"
    )
    for name, one in numbers["deployments"].items():
        yield f"{name}: {one['answers']} answers, {one['failed_attempts']} failed attempts"
    yield (
        f"outage: server of {outage.deployment} stopped at {outage.stopped_s:.1f} s, "
        f"told to start at {outage.told_to_start_s:.1f} s, ready at {outage.ready_s:.1f} s"
    )
    yield f"fell back: {numbers['fell_back']}"
    yield f"steered around the open breaker: {numbers['steered']}"
    yield f"served by {outage.deployment} after its restart: {numbers['served_after_restart']}"
    yield f"tokens: {numbers['tokens']['input']} in, {numbers['tokens']['output']} out"
    latency = numbers["latency_s"]
    if latency["p50"] is not None:
        yield f"latency: p50 {latency['p50']:.2f} s, p95 {latency['p95']:.2f} s"
    for task in run.lost:
        yield f"no answer, or more than one: prompt {task.number}"
    yield f"lost: {numbers['lost']}"


def totals(run: Run) -> dict[str, Any]:
    """Return what is counted of the run, in JSON's types; times in seconds."""
    answered = [call for call in run.calls if call.response is not None]
    usages = [call.response.usage for call in run.calls if call.response is not None]
    latencies = [call.latency_s for call in answered]
    deployments = sorted({attempt.deployment for call in run.calls for attempt in call.attempts})
    return {
        "prompts": len(run.tasks),
        "lost": len(run.lost),
        "fell_back": run.count(Way.FELL_BACK),
        "steered": run.count(Way.STEERED),
        "failed_attempts": len(run.failed_attempts),
        "served_after_restart": len(run.recovered),
        "concurrency": run.concurrency,
        "duration_s": round(run.duration_s, DIGITS),
        "tokens": {
            "input": sum(usage.input_tokens for usage in usages),
            "output": sum(usage.output_tokens for usage in usages),
        },
        "latency_s": {f"p{share}": _rounded(quantile(latencies, share / 100)) for share in (50, 95)},
        "deployments": {name: _of_deployment(run, name) for name in deployments},
    }


def document(run: Run, plot: Path | None) -> dict[str, Any]:
    """Return the whole run in JSON's types; *plot* is where its picture is, if there is one."""
    return {
        **totals(run),
        "plot": None if plot is None else str(plot),
        "outage": attrs.asdict(run.outage, value_serializer=_serialized),
        "breaker": [attrs.asdict(change, value_serializer=_serialized) for change in run.breaker],
        "calls": [_call_document(run, call) for call in run.calls],
    }


def _serialized(_instance: object, _attribute: object, value: Any) -> Any:
    return _rounded(value) if isinstance(value, float) else value


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, DIGITS)


def _of_deployment(run: Run, name: str) -> dict[str, int]:
    return {
        "answers": sum(call.response is not None and call.response.deployment == name for call in run.calls),
        "failed_attempts": sum(attempt.deployment == name for attempt in run.failed_attempts),
    }


def _call_document(run: Run, call: Call) -> dict[str, Any]:
    response = call.response
    return {
        "number": call.task.number,
        "prompt": call.task.text,
        "stream": call.task.stream,
        "tools": "tools" in call.task.params,
        "complexity": call.complexity,
        "way": call.way.value,
        "deployment": None if response is None else response.deployment,
        "text": None if response is None else response.text,
        "error": None if call.error is None else str(call.error),
        "input_tokens": None if response is None else response.usage.input_tokens,
        "output_tokens": None if response is None else response.usage.output_tokens,
        "begun_s": round(call.begun_s, DIGITS),
        "ended_s": round(call.ended_s, DIGITS),
        "latency_s": round(call.latency_s, DIGITS),
        "attempts": [
            {**attempt_document(attempt), "started_s": round(run.seconds(attempt.started_at), DIGITS)}
            for attempt in call.attempts
        ],
    }
