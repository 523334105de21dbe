"""Outcomes with what estimators say of them, read some rows at a time."""

from __future__ import annotations

import json

from asyncrouter.lab.estimates import NamedEstimator
from asyncrouter.lab.evaluation.scored import Reading, score_file
from asyncrouter.lab.outcomes import files
from asyncrouter.lab.outcomes.table import digest
from asyncrouter.strategies.estimators.constant import ConstantEstimator

PROMPTS = [f"number {number}" for number in range(10)]


def test_what_was_learned_is_counted_over_all_batches(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "BATCH_ROWS", 4)
    path = tmp_path / "outcomes.jsonl"
    rows = [json.dumps({"prompt": one, "strong": 1.0, "weak": 0.0}) for one in PROMPTS]
    path.write_text("\n".join(rows), encoding="utf-8")
    told = NamedEstimator(name="told", instance=ConstantEstimator(), learned_from=frozenset(map(digest, PROMPTS[:7])))
    silent = NamedEstimator(name="silent", instance=ConstantEstimator())
    scored = score_file(path, [told, silent], Reading())
    assert scored.seen == {"told": 7, "silent": None}
    assert len(scored.outcomes) == len(scored.scores["told"]) == 10
