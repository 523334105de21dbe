"""What a simulation tells: one document for programs, tables for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from asyncrouter.lab.simulation.record import quantiles
from asyncrouter.lab.simulation.run import Outcome

Document = dict[str, Any]
Table = tuple[Sequence[str], Sequence[Sequence[str]]]
QUANTILES: Mapping[str, float] = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "p99_9": 0.999}
EXTRA_ATTEMPTS = ("retries", "fallbacks", "hedges")
DIGITS = 6
"""After the point, in seconds and dollars: a microsecond is finer than any simulated latency means."""


def document(outcomes: Iterable[Outcome]) -> Document:
    """Return the document of a scenario and its variants.  Fields may be added, never renamed."""
    runs = [_run(outcome) for outcome in outcomes]
    return {"scenario": runs[0]["name"], "seed": runs[0]["seed"], "runs": runs}


def _run(outcome: Outcome) -> Document:
    requests, settings = outcome.requests, outcome.scenario.settings
    return {
        "name": outcome.scenario.name,
        "seed": settings.seed,
        "layers": settings.layers,
        "duration_s": _rounded(outcome.ended_s),
        "requests": requests.begun,
        "answered": requests.answered,
        "failed": sum(requests.errors.values()),
        "success": _rounded(_share(requests.answered, requests.begun)),
        "errors": dict(sorted(requests.errors.items())),
        "latency_s": {**_quantiles(requests.latencies_s), "worst": _rounded(requests.worst_s)},
        "first_output_s": _quantiles(requests.first_outputs_s) if requests.first_outputs_s else None,
        "upstream_calls": outcome.upstream_calls,
        "amplification": _rounded(_share(outcome.upstream_calls, requests.begun)),
        "cost_usd": _rounded(outcome.metrics[-1].total.cost_usd),
        **{key: sum(getattr(one.total, key) for one in outcome.metrics) for key in EXTRA_ATTEMPTS},
        "waits": requests.waits,
        "deployments": {name: _deployment(outcome, name) for name in outcome.upstreams},
        "breakers": [
            {"at_s": _rounded(one.at_s), "deployment": one.deployment, "state": one.state}
            for one in outcome.watch.changes
        ],
        "timeline": _timeline(outcome),
    }


def _deployment(outcome: Outcome, name: str) -> Document:
    record, metrics = outcome.upstreams[name], outcome.metrics[-1].deployments.get(name)
    return {
        "calls": record.calls,
        "share": _rounded(_share(record.calls, outcome.upstream_calls)),
        "ends": dict(sorted(record.ends.items())),
        "calls_while_down": record.while_down,
        "most_at_once": record.most_in_flight,
        "most_per_step": record.steps.most,
        "cost_usd": _rounded(metrics.cost_usd if metrics else 0.0),
    }


def _timeline(outcome: Outcome) -> Document:
    requests, steps = outcome.requests, outcome.steps
    return {
        "interval_s": outcome.scenario.settings.interval_s,
        "arrivals": requests.arrivals.counts(steps),
        "answered": requests.answers.counts(steps),
        "failed": requests.failures.counts(steps),
        "latency_p50_s": [_rounded(value) for value in requests.p50_s],
        "latency_p95_s": [_rounded(value) for value in requests.p95_s],
        "latency_slowest_s": [_rounded(value) for value in requests.slowest_s],
        "upstream_calls": {name: record.steps.counts(steps) for name, record in outcome.upstreams.items()},
    }


def _quantiles(values: Iterable[float]) -> Document:
    found = quantiles(values, QUANTILES.values())
    return {name: _rounded(value) for name, value in zip(QUANTILES, found, strict=True)}


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, DIGITS)


# ------------------------------------------------------------------ for people


def runs_table(told: Document) -> Table:
    """Return the table of the totals: a column for each run, so that variants stand side by side."""
    runs = told["runs"]
    rows = [
        ("requests", [f"{run['requests']:,}" for run in runs]),
        ("answered", [f"{run['success']:.2%}" for run in runs]),
        ("failed", [_failed(run) for run in runs]),
        *(
            (f"latency {name.replace('_', '.')}", [_seconds(run["latency_s"][name]) for run in runs])
            for name in QUANTILES
        ),
        ("slowest end", [_seconds(run["latency_s"]["worst"]) for run in runs]),
    ]
    if any(run["first_output_s"] for run in runs):
        rows.append(("first output p95", [_seconds((run["first_output_s"] or {}).get("p95")) for run in runs]))
    rows += [
        ("upstream calls", [f"{run['upstream_calls']:,}" for run in runs]),
        ("calls per request", [f"{run['amplification']:.3f}" for run in runs]),
        *((key, [f"{run[key]:,}" for run in runs]) for key in (*EXTRA_ATTEMPTS, "waits")),
        ("cost, USD", [f"{run['cost_usd']:.4f}" for run in runs]),
    ]
    return ["", *(run["name"] for run in runs)], [[name, *cells] for name, cells in rows]


def deployments_table(run: Document) -> Table:
    """Return the table of what reached each upstream in one run."""
    step_s = run["timeline"]["interval_s"]
    columns = ("upstream", "calls", "share", "ok", "failed", "cancelled", "while down", "most at once",
               f"most in {step_s:g} s", "cost, USD")  # fmt: skip
    return columns, [
        (
            name,
            f"{one['calls']:,}",
            f"{one['share']:.1%}",
            f"{one['ends'].get('ok', 0):,}",
            _ends(one["ends"]),
            f"{one['ends'].get('cancelled', 0):,}",
            f"{one['calls_while_down']:,}",
            f"{one['most_at_once']:,}",
            f"{one['most_per_step']:,}",
            f"{one['cost_usd']:.4f}",
        )
        for name, one in run["deployments"].items()
    ]


def _failed(run: Document) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in run["errors"].items()) or "0"


def _ends(ends: Mapping[str, int]) -> str:
    failed = {how: count for how, count in ends.items() if how not in {"ok", "cancelled"}}
    return ", ".join(f"{count:,} with {how}" for how, count in failed.items()) or "0"


def _seconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s"
