"""Objects that are made fast are what the constructor of their class makes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

from asyncrouter.types.decisions import Estimate, Selection, new_estimate, new_selection
from asyncrouter.types.request import Request, new_request
from asyncrouter.types.response import Chunk, Response, Usage, new_chunk, new_response, new_usage
from asyncrouter.types.trace import Attempt, AttemptKind, Outcome, RouteTrace, new_attempt, new_trace

LEAST: dict[type, dict[str, Any]] = {
    Request: {"messages": ["a"]},
    Usage: {},
    Chunk: {"raw": {"a": 1}},
    Response: {"raw": {"a": 1}, "deployment": "a", "model": "m"},
    Attempt: {"number": 1, "deployment": "a", "group": "g", "kind": AttemptKind.FIRST, "outcome": Outcome.OK},
    RouteTrace: {"request_id": "1"},
    Estimate: {"complexity": 0.5},
    Selection: {"deployments": ("a", "b")},
}
MADE = [
    (Request, new_request),
    (Usage, new_usage),
    (Chunk, new_chunk),
    (Response, new_response),
    (Attempt, new_attempt),
    (RouteTrace, new_trace),
    (Estimate, new_estimate),
    (Selection, new_selection),
]
each = pytest.mark.parametrize(("cls", "new"), MADE, ids=[cls.__name__ for cls, _ in MADE])
Maker = Callable[..., Any]


def everything(cls: type) -> dict[str, Any]:
    """A value of its own for every field; what the constructor checks stays as it is by default."""
    values = {one.alias: f"value of {one.name}" for one in attrs.fields(cls) if one.init}
    checked = {"propensity": 0.25, "parallel": 3, "take": "best"} if cls is Selection else {}
    return {**values, **checked, **LEAST[cls]}


def content(made: object) -> dict[str, Any]:
    """Every field, those too that equality leaves out."""
    return {name: getattr(made, name) for name in (one.name for one in attrs.fields(type(made)))}


@each
def test_it_has_the_fields_of_a_constructed_one(cls: type, new: Maker):
    for arguments in (LEAST[cls], everything(cls)):
        made, constructed = new(**arguments), cls(**arguments)
        assert type(made) is cls
        assert content(made) == content(constructed)
        assert made == constructed
        assert repr(made) == repr(constructed)


@each
def test_it_is_frozen(cls: type, new: Maker):
    made = new(**LEAST[cls])
    name = attrs.fields(cls)[0].name
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(made, name, 1)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        delattr(made, name)


@each
def test_an_unknown_argument_is_refused(cls: type, new: Maker):
    with pytest.raises(TypeError, match="odd"):
        new(**LEAST[cls], odd=1)


def test_positions_are_those_of_the_class():
    assert new_usage(1, 2) == Usage(1, 2)
    with pytest.raises(TypeError):
        new_request(["a"])  # type: ignore[misc]
