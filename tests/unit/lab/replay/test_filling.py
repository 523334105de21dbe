"""Stand-ins for what a log does not tell: right on average, and only where something is missing."""

from __future__ import annotations

import numpy as np
import pytest

from asyncrouter.lab.outcomes import load
from asyncrouter.lab.replay.filling import learnable
from asyncrouter.telemetry.outcomes.records import Feedback, LoggedAttempt, LoggedCall
from asyncrouter.telemetry.outcomes.schema import open_for_writing
from asyncrouter.telemetry.outcomes.writer import Writer
from asyncrouter.types.errors import ConfigError


def quality(deployment, hardness):
    """The weak one fails at once from some hardness on, which no ridge over complexity and its square can follow."""
    return 0.9 if deployment == "big" or hardness < 0.6 else 0.1


def call(number, hardness, chosen, propensity, **more):
    return LoggedCall(
        id=f"r{number}", at=float(number), group="chat", complexity=hardness, estimator="demo", ranking=("mini", "big"),
        chosen=chosen, propensity=propensity, outcome="answered", deployment=chosen, **more,
    )  # fmt: skip


@pytest.fixture
def log(tmp_path):
    """Return what writes calls, each with its feedback or none, to a log, and returns its path."""

    def write(*entries):
        path = tmp_path / "outcomes.sqlite"
        open_for_writing(path).close()
        writer = Writer(path, capacity=10_000, keep_rows=None, keep_days=None, clock=lambda: 0.0)
        for logged, score in entries:
            writer.put(logged)
            if score is not None:
                writer.put(Feedback(logged.id, logged.at, score))
        writer.close()
        return path

    return write


def explored(count, seed):
    random = np.random.default_rng(seed)
    entries = []
    for number, hardness in enumerate(random.uniform(size=count)):
        usual = "big" if hardness > 0.5 else "mini"
        explores = random.uniform() < 0.2
        chosen = {"big": "mini", "mini": "big"}[usual] if explores else usual
        score = float(random.uniform() < quality(chosen, hardness))
        entries.append((call(number, hardness, chosen, 0.2 if explores else 0.8), score))
    return entries


def test_the_gain_is_right_on_average_for_the_easy_and_for_the_hard(log):
    entries = explored(3000, seed=4)
    table, filled = learnable(log(*entries), None, None, seed=0)
    assert (table.strong, table.weak, filled, len(table)) == ("big", "mini", 3000, 3000)
    hardness = np.array([entry.complexity for entry, _score in entries])
    for part in (hardness < 0.5, (hardness >= 0.5) & (hardness < 0.6), hardness >= 0.6):
        truth = 0.8 if hardness[part].min() >= 0.6 else 0.0
        spare = 3 * table.gain[part].std() / np.sqrt(part.sum())
        assert np.mean(table.gain[part]) == pytest.approx(truth, abs=spare)
        assert spare < 0.25
    # comparing who answered well with who did not, as they were chosen, would be wrong
    naive = {name: np.mean([score for entry, score in entries if entry.chosen == name]) for name in ("big", "mini")}
    assert abs(naive["big"] - naive["mini"] - 0.32) > 0.07


def test_what_is_known_stays_as_it_is(log):
    known = call(1, 0.3, "mini", 0.5, attempts=(
        LoggedAttempt(deployment="big", group="chat", kind="first", outcome="rejected", score=0.4),
    ))  # fmt: skip
    entries = [(known, 0.8), *((entry, score) for entry, score in explored(60, seed=1) if entry.id != "r1")]
    table, filled = learnable(log(*entries), "big", "mini", seed=0)
    assert filled == len(table) - 1
    assert (table.of("big")[0], table.of("mini")[0]) == (0.4, 0.8)


def test_rows_of_which_nobody_has_said_anything_are_left_out(log):
    entries = [(entry, None if number % 2 else score) for number, (entry, score) in enumerate(explored(80, seed=2))]
    table, filled = learnable(log(*entries), "big", "mini", seed=0)
    assert len(table) == filled == 40


def test_what_cannot_be_compared_is_told(log):
    with pytest.raises(ConfigError, match="no call with feedback or a judge's score"):
        learnable(log((call(1, 0.3, "mini", 1.0), None)), None, None, seed=0)


def test_a_model_that_was_never_asked_is_told(log):
    entries = [(call(number, 0.3, "mini", 1.0), number % 2) for number in range(10)]
    with pytest.raises(ConfigError, match="'big' was never asked, or nobody said how well it went"):
        learnable(log(*entries), "big", "mini", seed=0)


def test_lengths_are_those_of_the_answers_that_came(log):
    def attempt(deployment, tokens):
        return LoggedAttempt(deployment=deployment, group="chat", kind="first", outcome="ok", output_tokens=tokens)

    entries = [
        (call(1, 0.5, "big", 0.5, attempts=(attempt("mini", 0), attempt("big", 70))), 1.0),
        (call(2, 0.5, "mini", 0.5, attempts=(attempt("mini", 30),)), 0.0),
    ]
    table = load(log(*entries))
    lengths = dict(zip(table.models, table.lengths.T.tolist(), strict=True))
    assert np.nan_to_num(lengths["big"]).tolist() == [70, 0]
    assert np.nan_to_num(lengths["mini"]).tolist() == [0, 30]


def test_without_tokens_there_are_no_lengths(log):
    assert load(log(*explored(300, seed=0))).lengths is None
