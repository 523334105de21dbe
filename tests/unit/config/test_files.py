"""Files: the three forms say the same, and what cannot be read is refused with its name and place."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from asyncrouter.config.files import MAX_BYTES
from asyncrouter.config.loading import load_config
from asyncrouter.types.errors import ConfigError

CONTRACT = """
[router]
default = "chat"                 # a group
deadline_s = 60.0
max_attempts = 6

[providers.openai]
kind = "openai"
base_url = "https://api.openai.com/v1"
api_key_env = "OPENAI_API_KEY"

[deployments.mini]
provider = "openai"
model = "gpt-4o-mini"
price = { input = 0.15, output = 0.60 }
limits = { rpm = 500, tpm = 200000, concurrency = 64 }
context_window = 128000

[deployments.big]
provider = "openai"
model = "gpt-4o"

[groups.chat]
deployments = ["mini", "big"]
select = { use = "complexity", threshold = 0.7 }
estimate = "heuristic"
retry = { use = "exponential", max_retries = 5, initial_delay_s = 1.0, factor = 2.0, cap_s = 30.0, jitter = true }
fallbacks = ["other-group"]
patience_s = 2.5
breaker = { failures = 5, ratio = 0.5, window_s = 30.0, open_s = 5.0, open_cap_s = 20.0 }
hedge = { at = "p95", max_extra_load = 0.05 }
timeouts = { connect_s = 5.0, first_token_s = 15.0, idle_s = 15.0, attempt_s = 60.0 }
on_interrupt = "raise"

[groups.other-group]
deployments = ["big"]

[agents.recon]
group = "chat"
complexity_threshold = 0.8
"""

YAML = """
router: &router
  default: chat
providers:
  openai:
deployments:
  mini: &mini {provider: openai, model: gpt-4o-mini}
  big:
    <<: *mini
    model: gpt-4o
groups:
  chat:
    deployments: [mini, big]
    select: {use: complexity, threshold: 0.7}
agents:
"""


@pytest.fixture
def written(tmp_path):
    def write(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def refusal(source) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(source)
    (fault,) = caught.value.faults
    assert str(fault) in str(caught.value)
    return str(fault)


def test_the_published_example_is_valid(written):
    config = load_config(written("asyncrouter.toml", CONTRACT))
    assert config.router.default == "chat"
    assert config.deployments["mini"].limits.concurrency == 64
    assert config.groups["chat"].hedge.at == "p95"
    assert config.groups["chat"].select.options == {"threshold": 0.7}
    assert config.providers["openai"].kind == "openai"
    assert "kind" not in config.providers["openai"].options
    assert config.agents["recon"].complexity_threshold == 0.8


def test_yaml_without_its_package_says_what_to_install(written, monkeypatch):
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(ConfigError) as raised:
        load_config(written("c.yaml", "router: {}"))
    assert 'pip install "asyncrouter[yaml]"' in str(raised.value)
    assert "c.yaml" in str(raised.value)


def test_yaml_with_merged_keys_and_empty_tables(written):
    config = load_config(str(written("router.yml", YAML)))
    assert config.deployments["big"].provider == "openai"
    assert config.deployments["big"].model == "gpt-4o"
    assert config.agents == {}


def test_the_forms_say_the_same(written):
    as_yaml = load_config(written("a.yaml", YAML))
    table = {
        "router": {"default": "chat"},
        "providers": {"openai": None},
        "deployments": {
            "mini": {"provider": "openai", "model": "gpt-4o-mini"},
            "big": {"provider": "openai", "model": "gpt-4o"},
        },
        "groups": {"chat": {"deployments": ["mini", "big"], "select": {"use": "complexity", "threshold": 0.7}}},
    }
    assert load_config(written("A.JSON", json.dumps(table))) == as_yaml == load_config(table)


@pytest.mark.parametrize("name", ["empty.toml", "empty.yaml"])
def test_an_empty_file_configures_nothing(written, name):
    config = load_config(written(name, b"# nothing\n"))
    assert (config.groups, config.deployments, config.providers) == ({}, {}, {})


def test_a_byte_order_mark_is_no_fault(written):
    assert load_config(written("bom.toml", b"\xef\xbb\xbf" + CONTRACT.encode())).router.default == "chat"


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.toml", "x = \n", "bad TOML: Invalid value (at line 1, column 5)"),
        ("a.toml", "[a]\n[a]\n", "bad TOML: Cannot declare ('a',) twice (at line 2, column 3)"),
        ("a.toml", "a = " + "1" * 5000, "bad TOML: Exceeds the limit"),
        ("a.toml", "a = " + "[" * 20000, "is nested too deeply"),
        ("a.json", '{"router": }', "bad JSON: Expecting value (at line 1, column 12)"),
        ("a.json", "", "bad JSON: Expecting value (at line 1, column 1)"),
        ("a.json", "9" * 5000, "bad JSON: Exceeds the limit"),
        ("a.json", "[" * 200000, "is nested too deeply"),
        ("a.json", "[1]", "expected a table at the top, not the list [1]"),
        ("a.json", '{"router": {"seed": 1, "seed": 2}}', "the key seed stands twice in one table; remove one"),
        ("a.yaml", "a: b: c", "bad YAML: mapping values are not allowed here (at line 1, column 5)"),
        ("a.yaml", "a: [1,\n", "bad YAML: expected the node content, but found '<stream end>' (at line 2, column 1)"),
        ("a.yaml", "- 1\n", "expected a table at the top, not the list [1]"),
        ("a.yaml", "just words\n", "expected a table at the top, not the string 'just words'"),
        ("a.yaml", "a: 1\n---\nb: 2\n", "bad YAML: but found another document (at line 2, column 1)"),
        ("a.yaml", "a: *nix", "bad YAML: found undefined alias 'nix' (at line 1, column 4)"),
        ("a.yaml", "a: !!python/object/apply:os.getcwd []", "bad YAML: could not determine a constructor for the tag"),
        ("a.yaml", "a: !!int seven", "bad YAML: holds a character or a tagged value that cannot be read"),
        ("a.yaml", "a: 2024-99-99", "bad YAML: holds a character or a tagged value that cannot be read"),
        ("a.yaml", "a: \x00", "bad YAML: holds a character or a tagged value that cannot be read"),
        ("a.yaml", "[\n" * 1000, "is nested too deeply"),
        ("a.yaml", "router: {}\nrouter: {}\n", "the key router stands twice in one table (at line 2); remove one"),
        ("a.yaml", "a: &a [*a]", "unfolds to more than 100000 values by its aliases; write it out"),
        ("a.ini", "", "unknown kind of file '.ini'; known: .toml, .yaml, .yml, .json"),
        ("asyncrouter", "", "unknown kind of file ''; known: .toml, .yaml, .yml, .json"),
        ("a.toml", b"a = '\xff'", "is not UTF-8 text (byte 5); save it as UTF-8"),
        ("a.toml", "x = 1".encode("utf-16"), "is not UTF-8 text (byte 0); save it as UTF-8"),
        ("a.toml", b"#" * (MAX_BYTES + 1), f"is larger than {MAX_BYTES} bytes"),
    ],
)
def test_a_file_that_cannot_be_read(written, name, content, expected):
    path = written(name, content)
    assert refusal(path).startswith(f"{path}: {expected}")


@pytest.mark.parametrize("layers", ["[{0}]", "{{<<: [{0}]}}"])
def test_a_bomb_of_aliases_is_refused_before_it_unfolds(written, layers):
    lines = ["a0: &a0 {x: 1}"]
    lines += [f"a{n}: &a{n} " + layers.format(", ".join([f"*a{n - 1}"] * 10)) for n in range(1, 40)]
    path = written("bomb.yaml", "\n".join(lines))
    assert refusal(path) == f"{path}: unfolds to more than 100000 values by its aliases; write it out"


def test_values_of_a_yaml_file_are_not_repeated_by_its_errors(written):
    message = refusal(written("a.yaml", "api_key: sk-0123456789: x"))
    assert "sk-0123456789" not in message


def test_an_alias_used_often_is_no_bomb(written):
    content = "x: &limits {rpm: 5}\ndeployments:\n" + "".join(
        f"  d{n}: {{provider: openai, model: m, limits: *limits}}\n" for n in range(50)
    )
    with pytest.raises(ConfigError, match="x: unknown key"):
        load_config(written("a.yaml", content))


def test_faults_of_a_file_are_headed_by_its_name(written):
    path = written("a.yaml", "router: {seed: 1, seed: x}\nrouter: {seed: [], deadline_s: -1}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(caught.value).splitlines() == [
        f"{path}: 4 faults",
        f"{path}: the key router stands twice in one table (at line 2); remove one",
        f"{path}: the key seed stands twice in one table (at line 1); remove one",
        "router.deadline_s: expected a positive number, not -1",
        "router.seed: expected a whole number, not an empty list",
    ]
    path.write_text("router: {seed: x}")
    with pytest.raises(ConfigError, match=r"a\.yaml: 1 fault\n"):
        load_config(path)


def test_no_such_file(tmp_path):
    assert refusal(tmp_path / "a.toml").endswith("a.toml: no such file")
    assert refusal("no\0such.toml").endswith(".toml: no such file")


def test_what_is_no_regular_file(tmp_path):
    (tmp_path / "d.toml").mkdir()
    os.mkfifo(tmp_path / "f.toml")
    assert refusal(tmp_path / "d.toml").endswith("d.toml: is a directory")
    assert refusal(tmp_path / "f.toml").endswith("f.toml: is no regular file")


def test_a_file_that_may_not_be_opened(written, monkeypatch):
    path = written("a.toml", "")

    def refuse(*_args, **_kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert refusal(path) == f"{path}: cannot be read: Permission denied"


class TestNothingGiven:
    @pytest.fixture(autouse=True)
    def _elsewhere(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        monkeypatch.delenv("ASYNCROUTER_CONFIG", raising=False)

    def test_the_embedded_default(self):
        config = load_config(None)
        assert list(config.deployments) == ["small", "large"]
        assert [config.providers[d.provider].kind for d in config.deployments.values()] == ["local", "local"]
        assert len({d.provider for d in config.deployments.values()}) == 2
        assert config.groups["default"].select.options == {"threshold": 0.7}
        for deployment in config.deployments.values():
            assert deployment.capabilities == {"tools", "json_schema", "streaming"}
            assert deployment.context_window == 2048
        assert load_config(config) is config

    def test_a_file_of_the_working_directory(self, written):
        contents = {
            "asyncrouter.json": '{"router": {"seed": 1}}',
            "asyncrouter.yml": "router: {seed: 2}",
            "asyncrouter.yaml": "router: {seed: 3}",
            "asyncrouter.toml": "router = {seed = 4}",
        }
        seeds = []
        for name, content in contents.items():  # each goes before those written earlier
            written(name, content)
            seeds.append(load_config(None).router.seed)
        assert seeds == [1, 2, 3, 4]

    def test_the_environment_names_another(self, written, monkeypatch):
        written("asyncrouter.toml", "router = {seed = 1}")
        monkeypatch.setenv("ASYNCROUTER_CONFIG", str(written("other.toml", "router = {seed = 2}")))
        assert load_config(None).router.seed == 2
        monkeypatch.setenv("ASYNCROUTER_CONFIG", "gone.toml")
        assert refusal(None) == "gone.toml: no such file"
        monkeypatch.setenv("ASYNCROUTER_CONFIG", "")
        assert load_config(None).router.seed == 1


def test_cattrs_and_the_parsers_are_loaded_only_when_wanted():
    code = (
        "import sys; from asyncrouter.config.loading import load_config; "
        "import asyncrouter.config.catalogue as c; c.build_catalogue(load_config(None)); "
        "print(sorted({'cattrs', 'yaml', 'tomllib', 'genai_prices', 'aiohttp', 'structlog'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    assert done.stdout == "[]\n"
