"""What ``lab eval`` tells: one document, and the tables made of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

from asyncrouter.lab.evaluation.bootstrap import Resampling
from asyncrouter.lab.evaluation.measuring import Measured, Measures, PairRows, mean_of, measure_pair, pair_rows
from asyncrouter.lab.evaluation.scored import Scored
from asyncrouter.lab.outcomes.files import Progress, ignored

Document = dict[str, Any]
LABELS = {"apgr": "APGR", "cpt50": "CPT50", "cpt80": "CPT80", "aiq": "AIQ"}


@attrs.frozen(kw_only=True)
class Evaluated:
    """One file: its scored rows, and the measures of each name."""

    file: str
    scored: Scored
    rows: PairRows
    measures: Mapping[str, Measures]


def evaluate(
    files: Mapping[str, Scored], resampling: Resampling, progress: Progress = ignored
) -> tuple[Evaluated, ...]:
    """Return the measures of each of *files*."""
    evaluated = []
    for stream, (file, scored) in enumerate(files.items()):
        rows = pair_rows(scored, file, stream)
        measures = {name: measure_pair([rows], name, resampling) for name in rows.scores}
        evaluated.append(Evaluated(file=file, scored=scored, rows=rows, measures=measures))
        progress((stream + 1) / len(files))
    return tuple(evaluated)


def document(evaluated: Sequence[Evaluated], resampling: Resampling, trained_on: str) -> Document:
    """Return the document of ``--json``: the files, their mean, and all of their rows together."""
    names = list(evaluated[0].measures)
    told: Document = {
        "trained_on": trained_on,
        "bootstrap": {**attrs.asdict(resampling), "level": 0.95},
        "files": [_file(one) for one in evaluated],
    }
    if len(evaluated) > 1:
        told["macro"] = {name: _figures(mean_of([one.measures[name] for one in evaluated])) for name in names}
        rows = [one.rows for one in evaluated]
        told["pooled"] = {name: _figures(measure_pair(rows, name, resampling)) for name in names}
    return told


def _file(one: Evaluated) -> Document:
    table = one.scored.outcomes
    return {
        "file": one.file,
        "rows": len(table),
        "rows_without_the_pair": len(table) - len(one.rows),
        "groups": len(set(table.groups)),
        "strong": {"model": table.strong, "quality": float(one.rows.strong.mean())},
        "weak": {"model": table.weak, "quality": float(one.rows.weak.mean())},
        "estimators": {name: _figures(measures) for name, measures in one.measures.items()},
    }


def _figures(measures: Measures) -> Document:
    figures: Document = {}
    for name, one in measures.items():
        figures[name] = _number(one.value)
        figures[f"{name}_interval"] = None if one.interval is None else list(one.interval)
    return figures


def _number(value: float) -> float | None:
    return None if value != value else value  # noqa: PLR0124 - JSON knows no nan


Table = tuple[Sequence[str], list[Sequence[str]]]


def table(told: Document) -> Table:
    """Return columns and lines: a line for each estimator on each file, in their mean, and on all rows together."""
    columns = ("outcomes", "estimator", *LABELS.values())
    return columns, list(_lines(told))


def _lines(told: Document) -> Iterator[Sequence[str]]:
    for file in told["files"]:
        for name, figures in file["estimators"].items():
            yield file["file"], name, *(_cell(figures, measure) for measure in LABELS)
    for place, label in (("macro", "mean of the files"), ("pooled", "all rows together")):
        for name, figures in told.get(place, {}).items():
            yield label, name, *(_cell(figures, measure) for measure in LABELS)


def _cell(figures: Document, measure: str) -> str:
    value = figures.get(measure)
    if value is None:
        return "-"
    interval = figures[f"{measure}_interval"]
    text = f"{value:.1%}" if measure.startswith("cpt") else f"{value:.3f}"
    if interval is None or interval[0] == interval[1]:
        return text
    low, high = (f"{end:.1%}" if measure.startswith("cpt") else f"{end:.3f}" for end in interval)
    return f"{text} [{low}, {high}]"


__all__ = ["Document", "Evaluated", "Measured", "document", "evaluate", "table"]
