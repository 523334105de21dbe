"""What a replay reads of a log: the calls that a policy has decided, and how well each went."""

from __future__ import annotations

import attrs
import pytest

from asyncrouter.lab.outcomes.logs import reward_of
from asyncrouter.lab.replay.replaying import read_decided
from asyncrouter.telemetry.outcomes import LoggedCall
from asyncrouter.telemetry.outcomes.writer import Writer
from asyncrouter.types.errors import ConfigError

CALL = LoggedCall(id="r", at=1.0, group="chat", outcome="answered", chosen="a", propensity=0.5)


@pytest.mark.parametrize(
    ("told", "reward"),
    [
        ({}, None),
        ({"judged": 0.25}, 0.25),
        ({"judged": 0.25, "feedback": 0.75}, 0.75),
        ({"outcome": "failed"}, 0.0),
        ({"outcome": "failed", "feedback": 1.0}, 1.0),
        ({"outcome": "cancelled"}, None),
    ],
)
def test_how_well_a_call_went(told, reward):
    assert reward_of(attrs.evolve(CALL, **told)) == reward


def test_only_decided_calls_that_ended_by_themselves_are_replayed(tmp_path):
    others = ({}, {"outcome": "failed"}, {"outcome": "cancelled"}, {"chosen": None}, {"propensity": None},
              {"shadow_of": "0"}, {"group": "other"})  # fmt: skip
    path = tmp_path / "outcomes.sqlite"
    writer = Writer(path, capacity=100, keep_rows=None, keep_days=None, clock=lambda: 1.0)
    for number, other in enumerate(others):
        writer.put(attrs.evolve(CALL, id=str(number), **other))
    writer.close()
    assert [call.id for call in read_decided(path, "chat", None)] == ["0", "1"]
    assert [call.id for call in read_decided(path, None, None)] == ["0", "1", "6"]
    with pytest.raises(ConfigError, match="no decided call of the group 'talk'"):
        read_decided(path, "talk", None)
