"""Strategies and providers by name: filled by the built-ins and by installed plugins, read by the configuration."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import attrs

from asyncrouter.hooks.markers import PROJECT
from asyncrouter.types.errors import AsyncRouterError, ConfigError, ConfigFault, PluginLoadError, UnknownStrategy
from asyncrouter.version import VERSION

if TYPE_CHECKING:
    import importlib.metadata

Kind = Literal["estimator", "selector", "retry", "fallback", "filter", "judge", "provider", "plugin", "trainer"]
KINDS: tuple[Kind, ...] = (
    "estimator", "selector", "retry", "fallback", "filter", "judge", "provider", "plugin", "trainer",
)  # fmt: skip
HOOK_OF: Mapping[Kind, str] = {
    "estimator": "asyncrouter_estimate",
    "selector": "asyncrouter_select",
    "retry": "asyncrouter_retry",
    "fallback": "asyncrouter_fallback",
    "filter": "asyncrouter_filter",
    "judge": "asyncrouter_judge",
}
"""The hook that a strategy of each kind cannot do without."""
Factory = Callable[..., Any]


@attrs.frozen(kw_only=True)
class Entry:
    """One registered name: what it makes, and which distribution in which version it came from.

    ``extended_by``: the distribution that may register the same name once more, for options that this one lacks.
    """

    kind: Kind
    name: str
    factory: Factory = attrs.field(repr=False)
    distribution: str
    version: str
    extended_by: str = ""

    @property
    def summary(self) -> str:
        """The first line of the factory's docstring."""
        return (inspect.getdoc(self.factory) or "").partition("\n")[0]


class Registry:
    """Names to factories, a name once per kind; what extends a built-in name is asked for the options it lacks.

    A factory takes the options of the configuration's table as keyword arguments and returns the object with the
    hook implementations (for a provider: the provider itself).
    """

    def __init__(self) -> None:
        self._entries: dict[tuple[Kind, str], Entry] = {}
        self._extensions: dict[tuple[Kind, str], Entry] = {}
        self._source = ("asyncrouter", VERSION)
        self.failures: list[PluginLoadError] = []
        self._installed_loaded = False

    def estimator(self, name: str, factory: Factory) -> None:
        """Register an object with ``asyncrouter_estimate``."""
        self._add("estimator", name, factory)

    def selector(self, name: str, factory: Factory, *, extended_by: str = "") -> None:
        """Register an object with ``asyncrouter_select``; *extended_by* names the distribution that knows more options.

        That distribution registers the name once more, and is asked where the options are not those of *factory*.
        """
        self._add("selector", name, factory, extended_by)

    def retry(self, name: str, factory: Factory) -> None:
        """Register an object with ``asyncrouter_retry``."""
        self._add("retry", name, factory)

    def fallback(self, name: str, factory: Factory) -> None:
        """Register an object with ``asyncrouter_fallback``."""
        self._add("fallback", name, factory)

    def filter(self, name: str, factory: Factory) -> None:
        """Register an object with ``asyncrouter_filter``."""
        self._add("filter", name, factory)

    def judge(self, name: str, factory: Factory) -> None:
        """Register an object with ``asyncrouter_judge``."""
        self._add("judge", name, factory)

    def provider(self, name: str, factory: Factory) -> None:
        """Register a provider kind; the factory also gets ``name``, the provider's name in the configuration."""
        self._add("provider", name, factory)

    def plugin(self, name: str, factory: Factory) -> None:
        """Register any other plugin: an observer, a cache, a guardrail; activated by ``router.plugins``."""
        self._add("plugin", name, factory)

    def trainer(self, name: str, factory: Factory) -> None:
        """Register what fits the estimator of the same name: an object with ``train``, which ``lab train`` calls.

        ``train(outcomes, *, seed, progress)`` gets the :class:`~asyncrouter.lab.outcomes.Outcomes` to learn from and
        returns the bytes of a :class:`~asyncrouter.types.model_file.ModelFile`, the same for the same outcomes and
        seed; ``progress`` is told the share of the work that is done, from 0 to 1.
        """
        self._add("trainer", name, factory)

    def entries(self) -> list[Entry]:
        """Return every entry, by kind and name; what extends a built-in name comes after it."""
        entries = (*self._entries.values(), *self._extensions.values())
        return sorted(entries, key=lambda entry: (KINDS.index(entry.kind), entry.name))

    def names(self, kind: Kind) -> list[str]:
        """Return the names of one kind, sorted."""
        return sorted(name for entry_kind, name in self._entries if entry_kind == kind)

    def find(self, kind: Kind, name: str, path: str = "") -> Entry:
        """Return the entry called *name*; look among the installed plugins when it is not built in.

        Raises :class:`UnknownStrategy` with the nearest names, and with the plugins that failed to load.
        """
        entry = self._entries.get((kind, name))
        if entry is None and not self._installed_loaded:
            self.load_installed()
            entry = self._entries.get((kind, name))
        if entry is None:
            raise UnknownStrategy(faults=[self._unknown(kind, name, path)])
        return entry

    def make(self, kind: Kind, name: str, options: Mapping[str, Any], path: str = "", /, **given: Any) -> Any:
        """Return what the factory called *name* makes of *options* (and of *given*, which the caller adds).

        Raises :class:`ConfigError` naming *path* when the options do not fit, :class:`PluginLoadError` naming the
        distribution when the factory fails otherwise (what it imports is missing, say).
        """
        entry = self.find(kind, name, path)
        faults = _option_faults(entry.factory, options, given, path)
        if faults and entry.extended_by:
            entry, faults = self._extension(entry, faults, options, given, path)
        if faults:
            raise ConfigError(faults=faults)
        try:
            return entry.factory(**options, **given)
        except ConfigError as error:
            raise ConfigError(faults=[attrs.evolve(f, path=_join(path, f.path)) for f in error.faults]) from error
        except AsyncRouterError:
            raise
        except (TypeError, ValueError) as error:
            raise ConfigError(faults=[ConfigFault(path, f"{kind} {name!r}: {error}")]) from error
        except Exception as error:  # a stranger's factory may raise anything
            raise _load_error(entry.distribution, f"{kind} {name!r} cannot be made", error) from error

    def load_installed(self) -> None:
        """Ask every installed plugin to register its names; what fails is kept in ``failures``, nothing is raised."""
        import importlib.metadata  # 40 ms, and wanted only when a name is not built in

        self._installed_loaded = True
        for entry_point in sorted(importlib.metadata.entry_points(group=PROJECT), key=lambda point: point.name):
            try:
                self._load(entry_point)
            except PluginLoadError as error:
                self.failures.append(error)

    def register_from(self, plugin: Any, distribution: str, version: str) -> None:
        """Let *plugin*'s ``asyncrouter_register`` register its names, all of them or none.

        Raises :class:`PluginLoadError` naming the distribution.
        """
        before = dict(self._entries), dict(self._extensions)
        builtin_source, self._source = self._source, (distribution, version)
        try:
            hook = getattr(plugin, f"{PROJECT}_register", None)
            if not callable(hook) or not hasattr(hook, f"{PROJECT}_impl"):
                raise _refused(distribution, f"no @hookimpl asyncrouter_register(registry) in {plugin!r}")
            if inspect.iscoroutinefunction(hook):
                raise _refused(distribution, "asyncrouter_register must be a plain function, not async")
            hook(registry=self)
        except Exception as error:
            self._entries, self._extensions = before
            if isinstance(error, PluginLoadError):
                raise
            raise _load_error(distribution, "asyncrouter_register failed", error) from error
        finally:
            self._source = builtin_source

    def _load(self, entry_point: importlib.metadata.EntryPoint) -> None:
        distribution = entry_point.dist.name if entry_point.dist else entry_point.value
        version = entry_point.dist.version if entry_point.dist else ""
        try:
            plugin = entry_point.load()
        except Exception as error:  # a stranger's module may raise anything while it is imported
            raise _load_error(distribution, "cannot be imported", error) from error
        self.register_from(plugin, distribution, version)

    def _extension(
        self, entry: Entry, faults: list[ConfigFault], options: Mapping[str, Any], given: Mapping[str, Any], path: str
    ) -> tuple[Entry, list[ConfigFault]]:
        """Return what extends *entry* with its faults; where it is not installed, *entry* and how to get it."""
        if not self._installed_loaded:
            self.load_installed()
        extension = self._extensions.get((entry.kind, entry.name))
        if extension is not None:
            return extension, _option_faults(extension.factory, options, given, path)
        more = f"more options with pip install {entry.extended_by}"
        return entry, [attrs.evolve(fault, cure=f"{fault.cure}; {more}") for fault in faults]

    def _add(self, kind: Kind, name: str, factory: Factory, extended_by: str = "") -> None:
        distribution, version = self._source
        if not isinstance(name, str) or not name:
            raise _refused(distribution, f"a {kind} is registered as {name!r}; its name must be a text")
        taken = self._entries.get((kind, name))
        entries = self._entries
        if taken is not None and taken.extended_by == distribution:
            entries, taken = self._extensions, self._extensions.get((kind, name))
        if taken is not None:
            raise _refused(
                distribution,
                f"the {kind} name {name!r} is already taken by {taken.distribution}; "
                "uninstall one of the two, or rename it",
            )
        if not callable(factory):
            raise _refused(distribution, f"{kind} {name!r}: the factory is not callable")
        entries[kind, name] = Entry(
            kind=kind,
            name=name,
            factory=factory,
            distribution=distribution,
            version=version,
            extended_by=extended_by,
        )

    def _unknown(self, kind: Kind, name: str, path: str) -> ConfigFault:
        known = self.names(kind)
        cure = did_you_mean(name, known) or (
            f"known: {', '.join(known)}; a plugin's distribution is named after its word: pip install {PROJECT}-{name}"
        )
        if self.failures:
            cure += "; plugins that failed to load: " + "; ".join(map(str, self.failures))
        return ConfigFault(path, f"unknown {kind} {name!r}", cure)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``did you mean "…"?`` with the known name nearest to *name*, or "" when none is near."""
    nearest = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f'did you mean "{nearest[0]}"?' if nearest else ""


def _option_faults(
    factory: Factory, options: Mapping[str, Any], given: Mapping[str, Any], path: str
) -> list[ConfigFault]:
    """Return one fault for each option that the factory does not know, with the nearest one that it does."""
    try:
        parameters = inspect.signature(factory).parameters
    except ValueError:  # some that are written in C tell nothing: calling it will show
        return []
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return []
    known = [name for name in parameters if name not in given and name != "self"]
    return [
        ConfigFault(
            _join(path, str(option)),
            "unknown key",
            did_you_mean(str(option), known) or f"known: {', '.join(known) or 'none'}",
        )
        for option in options
        if option not in known
    ]


def _refused(distribution: str, problem: str) -> PluginLoadError:
    return PluginLoadError(f"{distribution}: {problem}", plugin=distribution, hook=f"{PROJECT}_register")


def _load_error(distribution: str, problem: str, error: Exception) -> PluginLoadError:
    return _refused(distribution, f"{problem}: {type(error).__name__}: {error}")


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path and key else path or key
