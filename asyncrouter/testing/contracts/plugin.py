"""The contract of plugin distributions."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from asyncrouter.hooks.manager import HOOKS, IMPL_MARK, HookManager
from asyncrouter.hooks.markers import PROJECT
from asyncrouter.hooks.registry import HOOK_OF, Entry, Kind, Registry
from asyncrouter.providers.base import Provider
from asyncrouter.types.errors import ConfigError, PluginContractError, PluginLoadError
from asyncrouter.types.request import EMPTY

HEAVY = frozenset({
    "aiohttp", "anthropic", "fastapi", "google.genai", "httpx", "jax", "keras", "langchain", "lightgbm", "matplotlib",
    "numpy", "onnxruntime", "openai", "pandas", "polars", "pyarrow", "pydantic", "redis", "requests", "scipy",
    "sentence_transformers", "sklearn", "spacy", "structlog", "tensorflow", "tiktoken", "tokenizers", "torch",
    "transformers", "xgboost",
})  # fmt: skip
"""Modules that take long to import, or open something."""
UNKNOWN_OPTION = "no_such_option"


class PluginContract:
    """What every plugin distribution must keep.  Give ``distribution``, the name it is installed by.

    ``options`` holds the options that a factory cannot do without, by kind and name:
    ``{("selector", "word"): {"path": "x"}}``.  ``heavy`` are the modules that importing the plugin must not load.
    """

    distribution: ClassVar[str]
    options: ClassVar[Mapping[tuple[Kind, str], Mapping[str, Any]]] = {}
    heavy: ClassVar[frozenset[str]] = HEAVY

    # ------------------------------------------------------------------ the distribution

    def test_is_named_as_agreed(self) -> None:
        """Distribution ``asyncrouter-<word>``, entry point ``<word>``, import ``asyncrouter_<word>``."""
        assert re.fullmatch(rf"{PROJECT}-[a-z0-9]+(-[a-z0-9]+)*", self.distribution), (
            f"{self.distribution!r}: call the distribution {PROJECT}-<word>, in small letters"
        )
        point, module = self._entry_point(), self.distribution.replace("-", "_")
        assert point.module.partition(".")[0] == module, f"the entry point imports {point.module!r}; call it {module}"
        assert point.name == self._word, f"the entry point is called {point.name!r}; call it {self._word!r}"

    def test_depends_on_the_router(self) -> None:
        """Its metadata requires ``asyncrouter``."""
        required = [re.split(r"[^\w.-]", line)[0] for line in self._installed().requires or ()]
        assert PROJECT in required, f"it does not require {PROJECT}; add it to dependencies in pyproject.toml"

    def test_import_is_light(self) -> None:
        """Importing it loads no heavy module: installed plugins are imported when a name is looked up."""
        module, heavy = self._entry_point().module, sorted(self.heavy)
        code = f"import sys, {module}; print(*(name for name in {heavy!r} if name in sys.modules))"
        done = subprocess.run(  # noqa: S603 - our own interpreter
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert done.returncode == 0, f"it cannot be imported alone: {done.stderr}"
        assert not done.stdout.strip(), f"importing it loads {done.stdout.strip()}; import them inside the factory"

    # ------------------------------------------------------------------ the names

    def test_registers_its_names(self) -> None:
        """It registers at least one name, all beginning with its own word, none taken by the built-ins."""
        from asyncrouter.assembler import builtin_registry

        entries = self._entries(builtin_registry())
        assert entries, "it registers nothing; call registry.selector(name, factory) and the like"
        for entry in entries:
            assert re.fullmatch(rf"{self._word}([-_].+)?", entry.name), (
                f"{entry.kind} {entry.name!r}: call it {self._word!r}, or {self._word}_<more>"
            )

    def test_entry_point_only_registers(self) -> None:
        """The entry point implements no hook but ``asyncrouter_register``: installing a plugin must not activate it."""
        plugin = self._load()
        marked = [name for name in HOOKS if hasattr(getattr(plugin, name, None), IMPL_MARK)]
        assert marked == ["asyncrouter_register"], (
            f"the entry point implements {marked}; keep asyncrouter_register only, and let factories make the rest"
        )

    # ------------------------------------------------------------------ the factories

    def test_factories_are_documented(self) -> None:
        """Every factory has a docstring; its first line is what ``asyncrouter plugins`` shows."""
        for entry in self._entries():
            own = vars(entry.factory).get("__doc__") if isinstance(entry.factory, type) else entry.factory.__doc__
            assert own, f"{entry.kind} {entry.name!r}: give its factory a docstring"

    def test_makes_what_it_promises(self) -> None:
        """Every factory, with no or the documented options, makes an object with the hook of its kind."""
        for entry, made in self._made():
            where = f"{entry.kind} {entry.name!r}"
            if entry.kind == "provider":
                assert isinstance(made, Provider), f"{where}: it has not complete, stream and aclose"
                continue
            if entry.kind == "trainer":
                assert callable(getattr(made, "train", None)), f"{where}: it has no train(outcomes, *, seed, progress)"
                continue
            manager = HookManager()
            try:
                manager.register(made)
            except PluginContractError as error:
                raise AssertionError(f"{where}: the plugin manager refuses it: {error}") from error
            hook = HOOK_OF.get(entry.kind)
            assert hook is None or manager.implementations(hook), f"{where}: it does not implement {hook}"

    def test_makes_new_objects(self) -> None:
        """Every call of a factory makes a new object: two routers share nothing."""
        for (entry, one), (_entry, other) in zip(self._made(), self._made(), strict=True):
            assert one is not other, f"{entry.kind} {entry.name!r}: it made the same object twice"

    def test_refuses_unknown_options(self) -> None:
        """An option that it does not know is an error, never ignored: it may be misspelt."""
        registry = Registry()
        for entry in self._entries(registry):
            try:
                self._make(registry, entry, **{UNKNOWN_OPTION: 1})
            except ConfigError:
                continue
            raise AssertionError(
                f"{entry.kind} {entry.name!r}: it swallows unknown options; name them, without **kwargs"
            )

    # ------------------------------------------------------------------ tools of the clauses

    @property
    def _word(self) -> str:
        return self.distribution.removeprefix(f"{PROJECT}-")

    def _installed(self) -> importlib.metadata.Distribution:
        try:
            return importlib.metadata.distribution(self.distribution)
        except importlib.metadata.PackageNotFoundError as error:
            raise AssertionError(f"{self.distribution} is not installed; run: pip install -e .") from error

    def _entry_point(self) -> importlib.metadata.EntryPoint:
        points = list(self._installed().entry_points.select(group=PROJECT))
        assert len(points) == 1, f"it has {len(points)} entry points in group {PROJECT!r}; give it one"
        return points[0]

    def _load(self) -> Any:
        try:
            return self._entry_point().load()
        except Exception as error:  # a plugin may raise anything while it is imported
            raise AssertionError(f"its entry point cannot be loaded: {error!r}") from error

    def _entries(self, registry: Registry | None = None) -> list[Entry]:
        """Return what it registers in *registry*."""
        registry = registry or Registry()
        before = registry.entries()
        try:
            registry.register_from(self._load(), self.distribution, self._installed().version)
        except PluginLoadError as error:
            raise AssertionError(str(error)) from error
        return [entry for entry in registry.entries() if entry not in before]

    def _made(self) -> Iterator[tuple[Entry, Any]]:
        registry = Registry()
        for entry in self._entries(registry):
            try:
                yield entry, self._make(registry, entry)
            except ConfigError as error:
                raise AssertionError(
                    f"{entry.kind} {entry.name!r}: {error}; give options that it cannot do without in "
                    f"{type(self).__name__}.options"
                ) from error

    def _make(self, registry: Registry, entry: Entry, **more: Any) -> Any:
        options = {**self.options.get((entry.kind, entry.name), EMPTY), **more}
        given = {"name": entry.name} if entry.kind == "provider" else {}
        return registry.make(entry.kind, entry.name, options, **given)
