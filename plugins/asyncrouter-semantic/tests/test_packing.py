"""Model files: read without running anything, refused when they are not whole."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from asyncrouter_semantic.estimator import SemanticEstimator
from asyncrouter_semantic.model import Model
from asyncrouter_semantic.packing import VERSION, Pack, packed, unpacked

from asyncrouter import ConfigError
from asyncrouter.types.model_file import ModelFile

PACK = Pack(
    {"one": np.arange(6, dtype="<f4").reshape(2, 3), "none": np.zeros((0, 4), dtype="|i1")}, {"facts": [1, "a"]}
)


def body(line, rest=b""):
    whole = line + b"\n" + rest
    return f"{VERSION} {len(whole)}\n".encode() + zlib.compress(whole)


def test_comes_back_as_it_was():
    found = unpacked(packed(PACK), "here")
    assert found.facts == PACK.facts
    np.testing.assert_array_equal(found.array("one", "<f4", 2, None), PACK.arrays["one"])
    assert found.array("none", "|i1", 0, 4).size == 0
    assert packed(found) == packed(PACK)


def test_a_part_comes_back_from_within():
    part = unpacked(packed(PACK.joined("inner", PACK)), "here").part("inner")
    assert part is not None
    assert packed(part) == packed(PACK)
    assert PACK.part("inner") is None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no model of the semantic estimator"),
        (b"{}", "no model of the semantic estimator"),
        (b"99 10\nxxxx", "version 99"),
        (packed(PACK)[:-4], "damaged"),
        (f"{VERSION} 3\n".encode() + zlib.compress(b"abcd"), "length"),
        (f"{VERSION} 999999999999\n".encode() + zlib.compress(b"abcd"), "claims"),
        (body(b"not json"), "damaged"),
        (body(b'{"facts": {}, "arrays": [["a", "|O", [1]]]}', b"12345678"), "damaged"),
        (body(b'{"facts": {}, "arrays": [["a", "<f4", [9]]]}', b"1234"), "cut off"),
        (body(b'{"facts": {}, "arrays": []}', b"1234"), "more in it"),
    ],
)
def test_what_is_no_whole_pack_is_refused(content, said):
    with pytest.raises(ConfigError, match=rf"there: .*{said}.*lab train"):
        unpacked(content, "there")


@pytest.mark.parametrize(
    ("name", "dtype", "shape", "said"),
    [("two", "<f4", (2, 3), "missing"), ("one", "<f8", (2, 3), "shape"), ("one", "<f4", (3, 3), "shape")],
)
def test_an_array_is_checked_before_it_is_used(name, dtype, shape, said):
    with pytest.raises(ConfigError, match=said):
        PACK.array(name, dtype, *shape)


def test_a_number_that_is_none_is_refused():
    with pytest.raises(ConfigError, match="no number"):
        Pack({"a": np.array([np.nan], dtype="<f4")}).array("a", "<f4", 1)


def test_a_model_that_lacks_something_is_refused(content):
    pack = unpacked(ModelFile.parse(content, "x").content, "x")
    for name in sorted(pack.arrays):
        rest = {other: one for other, one in pack.arrays.items() if other != name}
        with pytest.raises(ConfigError, match=r"there: .*lab train"):
            Model.of(Pack(rest, pack.facts), "there")


@pytest.mark.parametrize(
    ("name", "value"),
    [("forest_weight", None), ("centre", float("nan")), ("spread", 0.0), ("centre", "1"), ("prior_weight", True)],
)
def test_a_fact_that_does_not_fit_is_refused(content, name, value):
    pack = unpacked(ModelFile.parse(content, "x").content, "x")
    with pytest.raises(ConfigError, match=rf"there: '{name}' is .*lab train"):
        Model.of(Pack(pack.arrays, {**pack.facts, name: value}), "there")


def test_a_forest_of_absurd_depth_is_refused_before_it_is_built(content):
    pack = unpacked(ModelFile.parse(content, "x").content, "x")
    with pytest.raises(ConfigError, match="'depth' is"):
        Model.of(Pack(pack.arrays, {**pack.facts, "forest": {"depth": 10**9, "base": 0.0}}), "there")


def test_a_file_of_another_estimator_is_refused(tmp_path):
    path = tmp_path / "other.model"
    path.write_bytes(bytes(ModelFile("other", b"")))
    with pytest.raises(ConfigError, match="estimator 'other', not of 'semantic'"):
        SemanticEstimator(model=str(path))
    with pytest.raises(ConfigError, match=r"absent\.model"):
        SemanticEstimator(model=str(tmp_path / "absent.model"))
