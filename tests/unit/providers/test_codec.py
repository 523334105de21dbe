"""JSON to and from the wire, by either library."""

from __future__ import annotations

import contextlib
import datetime as dt
import decimal
import enum
import json
import math
import sys
import tracemalloc
import types
import uuid
from collections import OrderedDict, UserDict, UserList

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncrouter.providers import codec
from asyncrouter.types.errors import InvalidRequest

SECRET = "the prompt itself"


@pytest.fixture(params=["orjson", "library"], autouse=True)
def library(request, monkeypatch):
    dumps, loads = {
        "orjson": (codec._dumps_by_orjson, codec.orjson.loads),
        "library": (codec._dumps_by_library, codec._loads_by_library),
    }[request.param]
    monkeypatch.setattr(codec, "_dumps", dumps)
    monkeypatch.setattr(codec, "_loads", loads)
    return request.param


class Colour(enum.Enum):
    RED = "red"


class Size(enum.IntEnum):
    BIG = 3


class Kind(enum.StrEnum):
    A = "a"


@pytest.mark.parametrize(
    ("value", "wire"),
    [
        ({"a": [1, 2.5, True, None, "é 🎉"]}, '{"a":[1,2.5,true,null,"é 🎉"]}'),
        ({"a": (1, 2)}, '{"a":[1,2]}'),
        (types.MappingProxyType({"a": OrderedDict(b=1)}), '{"a":{"b":1}}'),
        ({"a": UserDict(b=UserList([1]))}, '{"a":{"b":[1]}}'),
        ({"a": [Colour.RED, Size.BIG, Kind.A]}, '{"a":["red",3,"a"]}'),
        ({"a": uuid.UUID(int=0)}, '{"a":"00000000-0000-0000-0000-000000000000"}'),
        ({"logit_bias": {50256: -100}}, '{"logit_bias":{"50256":-100}}'),
        ({"a": {1: [Colour.RED, UserList([1])]}}, '{"a":{"1":["red",[1]]}}'),
        ({"seed": 2**70}, f'{{"seed":{2**70}}}'),
        ({"a": "null", "b": None}, '{"a":"null","b":null}'),
        ({}, "{}"),
    ],
)
def test_encode(value, wire):
    assert codec.encode(value) == wire.encode()


class Odd:
    def __repr__(self):
        return SECRET


def itself():
    value = {}
    value["me"] = value
    return value


def deep():
    value = 1
    for _ in range(2000):
        value = [value]
    return {"a": value}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"temperature": math.nan}, "temperature: is nan"),
        ({"a": [{"b": math.inf}]}, r"a\[0\]\.b: is inf"),
        ({"a": -math.inf, "b": None}, "a: is -inf"),
        ({"messages": [{"content": f"{SECRET} \ud800"}]}, r"messages\[0\]\.content: holds a lone surrogate"),
        ({"a": {"\udfff": 1}}, "a key of a: holds a lone surrogate"),
        ({"\udfff": 1}, "a parameter's name: holds a lone surrogate"),
        ({"a": [10**5000]}, r"a\[0\]: is a whole number that is too long"),
        ({"a": {-(10**5000): 1}}, "a key of a: is a whole number that is too long"),
        ({"a": Odd()}, "a: a Odd cannot be sent"),
        ({"a": {1, 2}}, "a: a set cannot"),
        ({"a": b"x"}, "a: a bytes cannot"),
        ({"a": bytearray()}, "a: a bytearray cannot"),
        ({"a": decimal.Decimal(1)}, "a: a Decimal cannot"),
        ({"a": dt.datetime(2026, 1, 1, tzinfo=dt.UTC)}, "a: a datetime cannot"),
        ({"a": {(1, 2): 3}}, "a: has a tuple for a key"),
        (itself(), "nested deeper than 200"),
        (deep(), "nested deeper than 200"),
        ({"a": {SECRET: Odd()}}, "a…?: a Odd"),
        ({"a": {SECRET: {"b": Odd()}}}, r"a\.…\.b: a Odd"),
    ],
)
def test_what_json_cannot_hold_is_refused_with_its_place(value, message):
    with pytest.raises(InvalidRequest, match=message.replace("a…?", r"a\.…")) as raised:
        codec.encode(value)
    assert SECRET not in f"{raised.value!r}{raised.value.__context__!r}{raised.value.__cause__!r}"


@pytest.mark.parametrize(
    ("wire", "value"),
    [
        (b'{"a": [1, 2.5, true, null, "\xc3\xa9"]}', {"a": [1, 2.5, True, None, "é"]}),
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        (b' \r\n\t{"a": 1}\n', {"a": 1}),
        (rb'"\ud83c\udf89"', "🎉"),
        (rb'{"\ud83d": ["x\udc00\ud800y", 1]}', {"\ufffd": ["x\ufffd\ufffdy", 1]}),
        (b'{"a": 1, "a": 2}', {"a": 2}),
    ],
)
def test_decode(wire, value):
    assert codec.decode(wire) == value


@pytest.mark.parametrize(
    "wire",
    [b"", b"{", b"{}x", b"NaN", b"[Infinity]", b"[-Infinity]", b"[1e999]", b"\xff", b'"\xed\xa0\x80"', b"[" * 100_000,
     b"[" * 100_000 + b"]" * 100_000, b'{"a":' * 100_000, b"'a'", b"undefined", b"[1,]"],
)  # fmt: skip
def test_what_is_no_json_is_refused_without_its_content(wire):
    with pytest.raises(codec.NotJson, match=r"^is no JSON$") as raised:
        codec.decode(wire)
    assert raised.value.__context__ is None


def test_enormous_integers_raise_nothing_else():
    with contextlib.suppress(codec.NotJson):
        codec.decode(b"1" * 10_000)


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=60))
def test_random_bytes_raise_nothing_else(data):
    with contextlib.suppress(codec.NotJson):
        codec.decode(data)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=100, deadline=None)
@given(body=st.dictionaries(st.text(), values, max_size=5))
def test_what_is_sent_is_what_any_decoder_reads(body):
    assert json.loads(codec.encode(body)) == body


def test_decode_gives_back_what_encode_took():
    body = {"a": [None, "é", 1.5, -3, True, {"b": []}]}
    assert codec.decode(codec.encode(body)) == body


def test_without_orjson_the_library_serves(monkeypatch):
    name = "asyncrouter.providers.codec"
    monkeypatch.setitem(sys.modules, "orjson", None)
    monkeypatch.delitem(sys.modules, name)
    import importlib

    bare = importlib.import_module(name)
    assert bare is not codec
    assert bare.orjson is None
    assert bare.decode(bare.encode({"a": None})) == {"a": None}


def test_a_body_holds_no_more_memory_than_it_is_long():

    body = {"messages": [{"role": "user", "content": "x" * 700}]}
    tracemalloc.start()
    try:
        kept = [codec.encode(body) for _ in range(20)]
        held = tracemalloc.get_traced_memory()[0] / len(kept)
    finally:
        tracemalloc.stop()
    assert held < 2 * len(kept[0])
