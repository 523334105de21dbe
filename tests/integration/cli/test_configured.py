"""The command line's configuration and environment; explain, check and plugins."""

from __future__ import annotations

import json
import os
import textwrap
from pathlib import Path
from unittest import mock

import pytest
from command_line import SENTINEL_KEY, configure

from asyncrouter.cli.app import run
from asyncrouter.version import VERSION

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
    more = "; strategies, their options and keys are looked at once the file is right"
    assert output.err == f"error: ConfigError: {len(output.out.splitlines())} faults in {path}{more}\n"


def test_check_names_unknown_strategies_and_missing_files(server, tmp_path, capsys):
    path = configure(tmp_path, server.url, select="complexitty")
    assert run(["check", path]) == 2
    output = capsys.readouterr()
    assert 'did you mean "complexity"?' in output.out
    assert output.err == f"error: ConfigError: {len(output.out.splitlines())} faults in {path}\n"
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
