"""The tree speaks of the project only: nothing of a machine, a registry or whoever worked on it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FORBIDDEN = {
    "a package registry's host": r"pypi[.]org|pythonhosted[.]org|npmjs[.](?:com|org)",
    "a path of somebody's machine": r"(?<![\w.])/(?:work|root|home|Users|mnt)/\w",
    "a number of a tracker": r"\b(?:issue|ticket|pull request|PR) ?#\d",
    "the work on it": r"(?i)\b(?:this|another|previous|working) session\b|co-authored[-]by|\bAI[ ]assistant",
}
LOCK_FILES = {"uv.lock", "pylock.toml", "poetry.lock", "Pipfile.lock"}
"""They record the registry they were made from; constraints.txt does not."""


def tracked_files():
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z"],  # noqa: S607 (whichever git checked the tree out)
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this is no git checkout")
    return [ROOT / name for name in listed.split("\0") if name]


def faults_in(text):
    return [f"{what}: {found[0]!r}" for what, pattern in FORBIDDEN.items() if (found := re.search(pattern, text))]


def test_no_tracked_file_speaks_of_anything_but_the_project():
    faults = {}
    for path in tracked_files():
        try:
            text = path.read_text(encoding="utf-8")
        except (UnicodeDecodeError, FileNotFoundError):  # a picture; a file that is removed but not yet committed
            continue
        if found := faults_in(text):
            faults[path.relative_to(ROOT).as_posix()] = found
    assert faults == {}


def test_no_lock_file_is_tracked():
    assert {path.name for path in tracked_files()} & LOCK_FILES == set()


@pytest.mark.parametrize(
    "text",
    [
        "https://pypi" + ".org/simple",
        "see /" + "work/main/x.py",
        "/" + "home/me/x",
        "fixes issue " + "#12",
        "as the previous" + " session said",
        "Co-Authored" + "-By: x",
    ],
)
def test_a_slip_would_be_found(text):
    assert faults_in(text)


def test_ordinary_words_are_none():
    assert faults_in("session='conv-42', one session per event loop, a/work/b, the issue, router.root, #42") == []
