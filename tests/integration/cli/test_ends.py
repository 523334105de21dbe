"""How commands end: errors and exit codes, interrupts, help, what is not installed."""

from __future__ import annotations

import importlib.util
import json
import signal
import sys
from pathlib import Path

import pytest
from command_line import SENTINEL_KEY, process

from asyncrouter.__main__ import main
from asyncrouter.cli.app import run
from asyncrouter.testing.server import Gate, Http, Sse, chunks
from asyncrouter.version import VERSION

# ------------------------------------------------------------------ errors and exit codes


def test_a_failed_call_is_a_typed_error_and_exit_code_1(config, server, capsys):
    server.scripts = Http(429, b'{"error": {"message": "slow down", "type": "requests"}}')
    assert run(["ask", "Hello", "--config", config, "--model", "mini"]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("error: ")
    assert "RateLimited: " in output.err
    assert "Traceback" not in output.err
    assert SENTINEL_KEY not in output.err


def test_a_failed_call_names_every_attempt(config, server, capsys):
    server.scripts = Http(503)
    assert run(["ask", "Hello", "--config", config]) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: AllAttemptsFailed: ")
    assert "  mini: Overloaded" in err
    assert "  big: Overloaded" in err


def test_a_failed_call_as_json_is_still_one_document(config, server, capsys):
    server.scripts = Http(503)
    assert run(["ask", "Hello", "--config", config, "--json"]) == 1
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["type"] == "AllAttemptsFailed"
    assert [one["deployment"] for one in error["trace"]["attempts"]] == ["mini", "big"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("arguments", [["plugins"], ["ask", "Hello"]])
def test_an_answer_that_cannot_be_written_is_no_success_and_no_traceback(config, arguments):
    at_config = ["--config", config] if arguments[0] == "ask" else []
    with Path("/dev/full").open("w") as full, process(*arguments, *at_config, stdout=full) as child:
        _out, err = child.communicate()
    assert (child.returncode, err) == (1, "error: OSError: [Errno 28] No space left on device\n")


def test_a_model_whose_key_is_not_set_is_exit_code_2(config, capsys, monkeypatch):
    monkeypatch.delenv("GROQ_API_KEY", raising=False)
    assert run(["ask", "Hello", "--config", config, "--model", "groq/llama"]) == 2
    assert "error: ConfigError: providers.groq.api_key_env: the environment" in capsys.readouterr().err


def test_an_unknown_model_is_a_failed_call(config, capsys):
    assert run(["ask", "Hello", "--config", config, "--model", "chatt"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: UnknownModelGroup: ")
    assert "chat" in err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["ask", ""], "empty"),
        (["ask", "  \n"], "empty"),
        (["ask", "Hello", "--complexity", "1.5"], "from 0 to 1"),
        (["ask", "Hello", "--complexity", "nan"], "from 0 to 1"),
        (["ask", "Hello", "--complexity", "much"], "not a valid float"),
        (["ask", "Hello", "-p", "max_tokens"], "NAME=VALUE"),
        (["ask", "Hello", "-p", "model=x"], "--model"),
        (["ask", "Hello", "--deadline", "-1"], "deadline_s"),
        (["ask", "Hello", "--agent", "rekon"], "recon"),
        (["ask", "Hello", "-p", "messages=[]"], "messages"),
        (["ask", "Hello", "--colour"], "--colour"),
        (["ask"], "PROMPT"),
        (["askk"], "askk"),
        ([], "Commands:"),
    ],
)
def test_wrong_usage_is_exit_code_2(config, server, capsys, arguments, says):
    at_config = ["--config", config] if arguments[:1] == ["ask"] else []
    assert run([*arguments, *at_config]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert says in output.err
    assert server.requests == []


@pytest.mark.parametrize("name", ["ask", "explain"])
def test_a_wrong_configuration_is_exit_code_2(tmp_path, capsys, name):
    path = tmp_path / "wrong.toml"
    path.write_text('[router]\ndefalt = "chat"\n')
    assert run([name, "Hello", "--config", str(path)]) == 2
    assert "router.defalt" in capsys.readouterr().err
    assert run([name, "Hello", "--config", str(path), "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["faults"][0]["path"] == "router.defalt"


def test_ctrl_c_ends_cleanly_with_130(config, server):
    server.scripts = Sse([*chunks("one two", finish_reason=None, usage=None), Gate()])
    with process("ask", "Count", "--config", config, "--stream") as child:
        assert child.stdout.read(7) == "one two"
        child.send_signal(signal.SIGINT)
        out, err = child.communicate()
    assert child.returncode == 130
    assert (out, err) == ("", "interrupted\n")


def test_a_reader_that_leaves_is_no_error(config, server):
    gate = Gate()
    server.scripts = Sse([*chunks("one two", finish_reason=None, usage=None), gate, *chunks("word " * 50_000)])
    with process("ask", "Count", "--config", config, "--stream") as child:
        assert child.stdout.read(7) == "one two"
        child.stdout.close()
        gate.release()
        assert child.wait() == 0
        assert child.stderr.read() == ""


# ------------------------------------------------------------------ the rest of the surface


@pytest.mark.parametrize("code", [0, 1])
def test_demo_hands_its_options_on_and_its_exit_code_back(monkeypatch, tmp_path, code):
    asked = []
    monkeypatch.setattr("asyncrouter.examples.demo.main.run", lambda **options: asked.append(options) or code)
    assert run(["demo", "--json", "--out", str(tmp_path)]) == code
    assert asked == [{"out": tmp_path, "as_json": True}]


def test_demo_without_a_folder_to_write_to_is_wrong_usage(tmp_path, capsys):
    taken = tmp_path / "taken"
    taken.touch()
    assert run(["demo", "--out", str(taken / "out")]) == 2
    assert capsys.readouterr().err.startswith("error: ConfigError: --out: ")


def test_version(capsys):
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"asyncrouter {VERSION}\n"


@pytest.mark.parametrize("name", [None, "ask", "explain", "check", "plugins", "demo"])
def test_every_command_has_help(capsys, name):
    assert run([*([name] if name else []), "--help"]) == 0
    assert "Usage: asyncrouter" in capsys.readouterr().out


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_without_the_extra_the_command_says_how_to_get_it(monkeypatch, capsys, missing):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else find(name))
    assert main() == 2
    assert capsys.readouterr().err == f'error: the command line needs {missing}; run: pip install "asyncrouter[cli]"\n'


def test_the_process_runs_its_own_arguments(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["asyncrouter", "--version"])
    assert main() == 0
    assert capsys.readouterr().out == f"asyncrouter {VERSION}\n"


def test_an_interrupt_at_any_time_is_130(monkeypatch, capsys):
    def interrupted(_arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("asyncrouter.cli.app._invoke", interrupted)
    assert main() == 130
    assert capsys.readouterr().err == "interrupted\n"
