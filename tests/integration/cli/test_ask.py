"""The command line's ask: answers, streams, and what a terminal and a pipe get of them."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import SENTINEL_KEY, command, configure, process

from asyncrouter.cli.app import run
from asyncrouter.cli.output import print_table
from asyncrouter.testing.server import Gate, Http, Sse, chunks, completion

# ------------------------------------------------------------------ ask


def test_ask_prints_the_answer_and_nothing_else(config, server, capsys):
    assert run(["ask", "What is 2 + 2?", "--config", config]) == 0
    output = capsys.readouterr()
    assert output.out == "Four.\n"
    assert output.err == ""
    sent = server.requests[0]
    assert sent.json["model"] == "mini-1"
    assert sent.json["messages"] == [{"role": "user", "content": "What is 2 + 2?"}]
    assert sent.headers["authorization"] == f"Bearer {SENTINEL_KEY}"


def test_ask_as_json_prints_one_document(config, capsys):
    assert run(["ask", "What is 2 + 2?", "--config", config, "--complexity", "0.9", "--json"]) == 0
    output = capsys.readouterr()
    document = json.loads(output.out)
    assert output.err == ""
    assert document["text"] == "Four."
    assert document["deployment"] == "big"
    assert document["usage"]["input_tokens"] == 10
    assert document["usage"]["output_tokens"] == 5
    assert document["cost_usd"] == pytest.approx((10 * 10 + 5 * 20) / 1e6)
    assert document["trace"]["estimate"]["complexity"] == 0.9
    assert document["trace"]["selection"]["deployments"][0] == "big"
    [attempt] = document["trace"]["attempts"]
    assert (attempt["deployment"], attempt["outcome"], attempt["error"]) == ("big", "ok", None)


def test_ask_names_the_fallback_in_the_trace(config, server, capsys):
    server.scripts = [Http(500, b"{}"), completion("Four.")]
    assert run(["ask", "Hello", "--config", config, "--json"]) == 0
    attempts = json.loads(capsys.readouterr().out)["trace"]["attempts"]
    assert [(one["deployment"], one["outcome"]) for one in attempts] == [("mini", "failed"), ("big", "ok")]
    assert attempts[0]["error"]["type"] == "ServerError"


def test_ask_passes_options_on(config, server):
    arguments = ["--model", "big", "-p", "max_tokens=7", "-p", "stop=END", "--deadline", "20"]
    assert run(["ask", "Hello", "--config", config, *arguments]) == 0
    sent = server.requests[0].json
    assert (sent["model"], sent["max_tokens"], sent["stop"]) == ("big-1", 7, "END")


def test_ask_for_an_agent_uses_its_threshold(config, server):
    assert run(["ask", "Hello", "--config", config, "--agent", "recon", "--complexity", "0.2"]) == 0
    assert server.requests[0].json["model"] == "big-1"


@pytest.mark.parametrize("as_json", [False, True])
def test_ask_streams(config, server, capsys, as_json):
    server.scripts = Sse(chunks("one two three"))
    assert run(["ask", "Count", "--config", config, "--stream", *["--json"] * as_json]) == 0
    out = capsys.readouterr().out
    assert (json.loads(out)["text"] if as_json else out.removesuffix("\n")) == "one two three"
    assert server.requests[0].json["stream"] is True


def test_a_restarted_stream_says_so(server, tmp_path, capsys):
    config = configure(tmp_path, server.url, on_interrupt="restart")
    server.scripts = [Sse(chunks("one two three"), cut_after=2), Sse(chunks("four five"))]
    assert run(["ask", "Count", "--config", config, "--stream"]) == 0
    output = capsys.readouterr()
    assert output.out.endswith("four five\n")
    assert "void" in output.err


def test_the_stream_comes_chunk_by_chunk(config, server):
    gate = Gate()
    server.scripts = Sse([*chunks("one two", finish_reason=None, usage=None), gate, *chunks("three")])
    with process("ask", "Count", "--config", config, "--stream") as child:
        assert child.stdout.read(7) == "one two"  # while the server still holds the rest back
        gate.release()
        assert child.stdout.read() == "three\n"
        assert child.wait() == 0


def test_the_prompt_comes_from_standard_input(config, server):
    with process("ask", "-", "--config", config, stdin=subprocess.PIPE) as child:
        out, err = child.communicate("Was ist 2 + 2? Größe zählt.\n")
    assert (child.returncode, out, err) == (0, "Four.\n", "")
    assert server.requests[0].json["messages"][0]["content"] == "Was ist 2 + 2? Größe zählt.\n"


def test_standard_input_must_be_text(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff\xfe\x00")))
    assert run(["ask", "-"]) == 2
    assert "not UTF-8 text (byte 0)" in capsys.readouterr().err


def test_standard_input_must_be_open(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", None)  # as the interpreter has it after <&-
    assert run(["ask", "-"]) == 2
    assert "standard input is closed" in capsys.readouterr().err


def test_logs_go_to_standard_error(server, tmp_path, capsys):
    path = Path(configure(tmp_path, server.url))
    config = json.loads(path.read_text())
    config["router"]["plugins"] = ["log"]
    path.write_text(json.dumps(config))
    assert run(["ask", "Hello", "--config", str(path), "--json"]) == 0
    output = capsys.readouterr()
    assert json.loads(output.out)["text"] == "Four."
    assert "input_tokens" in output.err


# ------------------------------------------------------------------ what a terminal gets


def on_a_terminal(*arguments: str, **environment: str) -> str:
    """Run a command with its standard output on a pseudo-terminal; return what it wrote there."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command(*arguments),
        stdout=theirs,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TERM": "xterm", **environment},
    ) as child:
        os.close(theirs)
        written = b""
        try:
            while piece := os.read(ours, 65536):
                written += piece
        except OSError:  # how Linux says that the other side has closed
            pass
        assert child.wait() == 0
    os.close(ours)
    return written.decode()


def test_a_terminal_gets_tables_with_rules_and_a_pipe_plain_text(config, capsys, monkeypatch):
    explain = ["explain", "Hello", "--config", config]
    assert run(explain) == 0
    assert "│" not in capsys.readouterr().out
    coloured = on_a_terminal(*explain)
    assert "│" in coloured
    assert "\x1b[" in coloured
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert run(explain) == 0
    plain = capsys.readouterr().out
    assert "│" in plain
    assert "\x1b[3" not in plain


def test_plain_tables_are_aligned_in_any_script(capsys):
    print_table(("prompt", "n"), [("高い山", "1"), ("Größe", "2"), ("x", "3")])
    assert capsys.readouterr().out == "prompt  n\n高い山  1\nGröße   2\nx       3\n"


def test_an_answer_cannot_steer_the_terminal(config, server, capsys, monkeypatch):
    server.scripts = completion("before \x1b[2J\x1b]0;title\x07 after")
    assert run(["ask", "Hello", "--config", config]) == 0
    assert capsys.readouterr().out == "before \x1b[2J\x1b]0;title\x07 after\n"  # a file gets it as it came
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert run(["ask", "Hello", "--config", config]) == 0
    assert capsys.readouterr().out == "before \ufffd[2J\ufffd]0;title\ufffd after\n"
