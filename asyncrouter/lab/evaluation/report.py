"""What ``lab eval`` tells: one document, and the tables made of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs

from asyncrouter.lab.evaluation.bootstrap import LEVEL, Resampling
from asyncrouter.lab.evaluation.evaluating import Evaluated
from asyncrouter.lab.evaluation.measuring import Measures, mean_of, measure_pair
from asyncrouter.lab.evaluation.scored import Played

Document = dict[str, Any]
Table = tuple[Sequence[str], list[Sequence[str]]]

LABELS = {
    "apgr": "APGR", "cpt50": "CPT50", "cpt80": "CPT80", "aiq": "AIQ", "cost_at_best": "cost at best",
    "quality": "quality", "strong_share": "strong calls", "cost_usd": "USD for 1,000",
}  # fmt: skip
PERCENT = frozenset({"cpt50", "cpt80", "cost_at_best", "strong_share"})
"""Measures told in per cent."""
THOUSANDS = frozenset({"cost_usd"})
"""Measures told for a thousand calls."""


def document(evaluated: Sequence[Evaluated], resampling: Resampling) -> Document:
    """Return the document of ``--json``: the files, their mean, and all of their rows together."""
    names = list(evaluated[0].measures)
    told: Document = {
        "bootstrap": {**attrs.asdict(resampling), "level": LEVEL},
        "learned_from": dict(evaluated[0].scored.learned),
        "files": [_file(one) for one in evaluated],
    }
    if len(evaluated) > 1:
        means = {name: figures(mean_of([one.measures[name] for one in evaluated])) for name in names}
        told["macro"] = {name: mean for name, mean in means.items() if mean}
        rows = [one.rows for one in evaluated]
        told["pooled"] = {name: figures(measure_pair(rows, name, resampling)) for name in rows[0].scores}
    return told


def _file(one: Evaluated) -> Document:
    table = one.scored.outcomes
    return {
        "file": one.file,
        "rows": len(table),
        "rows_without_the_pair": len(table) - len(one.rows),
        "groups": len(set(table.groups)),
        "models": len(table.models),
        "strong": {"model": table.strong, "quality": float(one.rows.strong.mean())},
        "weak": {"model": table.weak, "quality": float(one.rows.weak.mean())},
        "rows_learned_from": dict(one.scored.seen),
        "estimators": {name: figures(measures) for name, measures in one.measures.items()},
        "selectors": {name: _points(played) for name, played in one.scored.played.items()},
    }


def _points(played: Played) -> list[Document]:
    """Return what each setting of a selector came to."""
    return [
        {
            "settings": settings,
            "rows": len(played.rows),
            "quality": float(played.qualities[place].mean()),
            "cost_usd": float(played.costs[place].mean()),
            "strong_share": None if played.strong is None else float(played.strong[place].mean()),
        }
        for place, settings in enumerate(played.settings)
    ]


def figures(measures: Measures) -> Document:
    """Return *measures* as JSON knows them: each figure, and its interval under its name and ``_interval``."""
    told: Document = {}
    for name, one in measures.items():
        told[name] = None if one.value != one.value else one.value
        told[f"{name}_interval"] = None if one.interval is None else list(one.interval)
    return told


def table(told: Document) -> Table:
    """Return columns and lines: a line for each estimator on each file, in their mean, and on all rows together."""
    shown = [measure for measure in LABELS if any(measure in one for _place, _name, one in _figures(told))]
    columns = ("outcomes", "estimator", *(LABELS[measure] for measure in shown))
    return columns, [
        (place, name, *(cell(one, measure) for measure in shown)) for place, name, one in _figures(told)
    ]  # fmt: skip


def _figures(told: Document) -> Iterator[tuple[str, str, Document]]:
    for file in told["files"]:
        for name, one in file["estimators"].items():
            yield Path(file["file"]).name, name, one
    for place, label in (("macro", "mean of the files"), ("pooled", "all rows together")):
        for name, one in told.get(place, {}).items():
            yield label, name, one


def cell(one: Document, measure: str) -> str:
    """Return a figure and its interval in words."""
    value = one.get(measure)
    if value is None:
        return "-"
    form = ".1%" if measure in PERCENT else ".3f"
    scale = 1000 if measure in THOUSANDS else 1
    interval = one[f"{measure}_interval"]
    if interval is None or interval[0] == interval[1]:
        return f"{value * scale:{form}}"
    low, high = interval
    return f"{value * scale:{form}} [{low * scale:{form}}, {high * scale:{form}}]"


def notes(told: Document) -> Iterator[str]:
    """Yield a sentence for each estimator: what it was trained on, and which of these rows it had seen."""
    yield f"in brackets: {told['bootstrap']['level']:.0%} of bootstrap samples"
    for name, learned in told["learned_from"].items():
        seen = {Path(file["file"]).name: file["rows_learned_from"][name] for file in told["files"]}
        is_selector = name in told["files"][0]["selectors"]
        yield f"{name}: {_learned(learned)}{_seen(seen, 'whose estimator' if is_selector else '')}"


def _learned(learned: str) -> str:
    return learned if learned.startswith("as it") else f"learned from {learned}"


def _seen(seen: dict[str, int | None], whose: str) -> str:
    told = [f"{count:,} of {file}" for file, count in seen.items() if count]
    if told:
        who = f"{whose} " if whose else ""
        return f"; {who}HAD SEEN THE PROMPTS of {', '.join(told)}: its figures there say nothing of new prompts"
    if whose:
        return ""
    return "; it does not tell what it has learned from" if None in seen.values() else "; none of these rows"
