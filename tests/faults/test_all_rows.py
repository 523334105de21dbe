"""Every fault has its test: the ids of all rows, held against the names of the tests in this folder."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
ROWS = {
    "n": ("network", 10),
    "h": ("HTTP", 22),
    "t": ("time", 7),
    "s": ("streams", 13),
    "c": ("callers", 5),
    "g": ("hedges", 5),
    "b": ("breakers", 6),
    "p": ("plugins and process", 6),
    "a": ("accounts", 2),
}
"""The letter of each kind of fault, what it is about, and how many there are."""
IDS = [f"{letter}{number:02}" for letter, (_, count) in ROWS.items() for number in range(1, count + 1)]


def names_of_tests():
    """Yield the name of every test function in this folder, whether it runs on this machine or not."""
    for path in sorted(FOLDER.glob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_"):
                yield node.name


TESTED = {found[1] for name in names_of_tests() if (found := re.match(r"test_([nhtscgbpa]\d\d)s?_", name))}


def test_there_are_seventy_six():
    assert len(IDS) == 76


@pytest.mark.parametrize("row", IDS)
def test_the_row_has_its_test(row):
    assert row in TESTED


def test_no_test_names_a_row_that_there_is_not():
    assert set(IDS) >= TESTED
