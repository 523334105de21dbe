"""The command line: real processes against a scripted server where the process matters, in this one where not."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import pty
import signal
import subprocess
import sys
import textwrap
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import pytest
from distributions import installing_in

from asyncrouter.__main__ import main
from asyncrouter.cli.app import run
from asyncrouter.cli.output import print_table
from asyncrouter.testing.server import Gate, Http, ScriptedServer, Sse, chunks, completion
from asyncrouter.version import VERSION

SENTINEL_KEY = "sk-sentinel-9f2c"


def configure(folder: Path, url: str, **group: object) -> str:
    """Write a configuration of two deployments on the server at *url*; return its path."""
    config = {
        "router": {"default": "chat"},
        "providers": {"scripted": {"kind": "openai", "base_url": f"{url}/v1", "api_key_env": "SCRIPTED_KEY"}},
        "deployments": {
            "mini": {"provider": "scripted", "model": "mini-1", "price": {"input": 1.0, "output": 2.0}},
            "big": {"provider": "scripted", "model": "big-1", "price": {"input": 10.0, "output": 20.0}},
        },
        "groups": {
            "chat": {
                "deployments": ["mini", "big"],
                "select": {"use": "complexity", "threshold": 0.7},
                "patience_s": 0.0,
                "retry": {"use": "exponential", "max_retries": 0},
                **group,
            }
        },
        "agents": {"recon": {"group": "chat", "complexity_threshold": 0.1}},
    }
    path = folder / "config.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    return str(path)


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    for name in os.environ:
        if name.startswith("ASYNCROUTER_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("SCRIPTED_KEY", SENTINEL_KEY)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def server():
    with ScriptedServer.in_thread(completion("Four.")) as server:
        yield server


@pytest.fixture
def config(server, tmp_path):
    return configure(tmp_path, server.url)


@pytest.fixture
def install(tmp_path):
    with installing_in(tmp_path) as install:
        yield install


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "asyncrouter", *arguments]


@contextmanager
def process(*arguments: str, **options):
    with subprocess.Popen(
        command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8", **options
    ) as child:
        try:
            yield child
        finally:
            child.kill()


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


def test_logs_go_to_standard_error(server, tmp_path, capsys):
    path = Path(configure(tmp_path, server.url))
    config = json.loads(path.read_text())
    config["router"]["plugins"] = ["log"]
    path.write_text(json.dumps(config))
    assert run(["ask", "Hello", "--config", str(path), "--json"]) == 0
    output = capsys.readouterr()
    assert json.loads(output.out)["text"] == "Four."
    assert "input_tokens" in output.err


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


# ------------------------------------------------------------------ configuration and environment


def test_flags_win_over_the_environment(config, server, monkeypatch):
    monkeypatch.setenv("ASYNCROUTER_CONFIG", config)
    monkeypatch.setenv("ASYNCROUTER_ASK_COMPLEXITY", "0.9")
    assert run(["ask", "Hello"]) == 0
    assert run(["ask", "Hello", "--complexity", "0.1"]) == 0
    assert [one.json["model"] for one in server.requests] == ["big-1", "mini-1"]


def test_a_configuration_in_the_working_directory_is_found(config, server, tmp_path):
    (tmp_path / "asyncrouter.json").write_text(Path(config).read_text())
    assert run(["ask", "Hello"]) == 0
    assert len(server.requests) == 1


def test_an_env_file_is_read_when_given_and_never_otherwise(config, server, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("SCRIPTED_KEY")
    env_file = tmp_path / ".env"
    env_file.write_text(
        textwrap.dedent(f"""\
            # keys
            export SCRIPTED_KEY="{SENTINEL_KEY}" # the key
            ASYNCROUTER_CONFIG={config} # a file

            ASYNCROUTER_ASK_COMPLEXITY='0.9'
            """)
    )
    ask = ["ask", "Hello", "--env-file", str(env_file)]
    with mock.patch.dict(os.environ):
        assert run(ask) == 0
    assert server.requests[0].json["model"] == "big-1"
    assert server.requests[0].headers["authorization"] == f"Bearer {SENTINEL_KEY}"

    assert run(["ask", "Hello", "--config", config]) == 2
    assert "SCRIPTED_KEY" in capsys.readouterr().err
    monkeypatch.setenv("ASYNCROUTER_ASK_COMPLEXITY", "0.1")  # what is set already wins
    with mock.patch.dict(os.environ):
        assert run(ask) == 0
    assert server.requests[1].json["model"] == "mini-1"


@pytest.mark.parametrize("line", [f"KEY {SENTINEL_KEY}", f'KEY="{SENTINEL_KEY}', f"1KEY={SENTINEL_KEY}"])
def test_a_wrong_env_file_is_named_by_line_and_never_shown(tmp_path, capsys, line):
    env_file = tmp_path / ".env"
    env_file.write_text(f"# one\n{line}\n")
    assert run(["ask", "Hello", "--env-file", str(env_file)]) == 2
    err = capsys.readouterr().err
    assert "line 2" in err
    assert SENTINEL_KEY not in err


def test_an_env_file_must_be_text(tmp_path, capsys):
    env_file = tmp_path / ".env"
    env_file.write_bytes(b"KEY=\xff\xfe")
    assert run(["ask", "Hello", "--env-file", str(env_file)]) == 2
    assert "UTF-8" in capsys.readouterr().err


# ------------------------------------------------------------------ explain, check, plugins


def test_explain_shows_the_decision_without_a_call(config, server, capsys):
    assert run(["explain", "What is 2 + 2?", "--config", config]) == 0
    out = capsys.readouterr().out
    lines = [line.split() for line in out.splitlines()]
    assert ["group", "chat"] in lines
    assert [line[1] for line in lines if line[:1] in (["1"], ["2"])] == ["mini", "big"]
    assert server.requests == []


def test_explain_as_json(config, server, capsys):
    assert run(["explain", "What is 2 + 2?", "--config", config, "--json", "--complexity", "0.9"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["estimate"]["complexity"] == 0.9
    assert [(one["rank"], one["deployment"]) for one in document["ranking"]] == [(1, "big"), (2, "mini")]
    assert document["ranking"][0]["expected_cost_usd"] > document["ranking"][1]["expected_cost_usd"] > 0
    assert document["reason"]
    assert server.requests == []


def test_explain_says_when_nothing_can_serve(server, tmp_path, capsys):
    config = json.loads(Path(configure(tmp_path, server.url)).read_text())
    for deployment in config["deployments"].values():
        deployment["capabilities"] = ["streaming"]
    path = tmp_path / "none.json"
    path.write_text(json.dumps(config))
    tools = '[{"type": "function", "function": {"name": "f"}}]'
    assert run(["explain", "Hello", "--config", str(path), "--json", "-p", f"tools={tools}"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["reason"] == "no deployment can serve this request"
    assert {one["rank"] for one in document["ranking"]} == {0}


def test_check_says_ok_with_a_summary(config, capsys):
    assert run(["check", config]) == 0
    assert capsys.readouterr().out == "ok: 1 provider, 2 deployments, 1 group, 1 agent\n"


def test_check_names_every_fault_by_its_path(tmp_path, capsys):
    path = tmp_path / "wrong.toml"
    path.write_text(
        textwrap.dedent("""\
            [providers.p]
            kind = "openai"
            base_url = "http://127.0.0.1:1/v1"

            [deployments.mini]
            provider = "q"
            model = "m"
            prise = { input = 1.0, output = 1.0 }

            [groups.chat]
            deployments = ["mini"]
            patience_s = -1.0
            """)
    )
    assert run(["check", str(path)]) == 2
    output = capsys.readouterr()
    for where in ("deployments.mini.provider", "deployments.mini.prise", "groups.chat.patience_s"):
        assert any(line.startswith(f"{where}: ") for line in output.out.splitlines()), where
    assert output.err == f"error: ConfigError: {len(output.out.splitlines())} faults in {path}\n"


def test_check_names_unknown_strategies_and_missing_files(server, tmp_path, capsys):
    path = configure(tmp_path, server.url, select="complexitty")
    assert run(["check", path]) == 2
    assert 'did you mean "complexity"?' in capsys.readouterr().out
    assert run(["check", str(tmp_path / "none.toml")]) == 2
    assert "no such file" in capsys.readouterr().out


def test_plugins_are_listed(capsys):
    assert run(["plugins"]) == 0
    assert "complexity" in capsys.readouterr().out
    assert run(["plugins", "--json"]) == 0
    available = json.loads(capsys.readouterr().out)["available"]
    [entry] = [one for one in available if (one["kind"], one["name"]) == ("selector", "complexity")]
    assert entry["distribution"] == "asyncrouter"
    assert entry["version"] == VERSION
    assert entry["summary"]


def test_a_plugin_that_fails_to_load_is_named(install, capsys):
    install("asyncrouter-broken", "raise ImportError('no such library')\n")
    assert run(["plugins"]) == 0
    assert "failed to load: asyncrouter-broken" in capsys.readouterr().err
    assert run(["plugins", "--json"]) == 0
    [failed] = json.loads(capsys.readouterr().out)["failed"]
    assert failed["distribution"] == "asyncrouter-broken"
    assert "no such library" in failed["error"]


@pytest.mark.parametrize("arguments", [["check"], ["ask", "Hello", "--config"]])
def test_a_strategy_that_breaks_its_contract_is_a_wrong_configuration(server, tmp_path, install, capsys, arguments):
    source = """
    class Estimator:
        @hookimpl
        def asyncrouter_estimate(self, reqest):
            return None

    @hookimpl
    def asyncrouter_register(registry):
        registry.estimator("odd", Estimator)
    """
    install("asyncrouter-odd", textwrap.dedent(source))
    assert run([*arguments, configure(tmp_path, server.url, estimate="odd")]) == 2
    output = capsys.readouterr()
    assert "reqest" in output.out + output.err
    assert server.requests == []


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
