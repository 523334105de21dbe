"""The public surface: names, signatures and errors that users, plugins and acceptance checks rely on."""

from __future__ import annotations

import ast
import asyncio
import importlib
import inspect
import json
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

import asyncrouter
from asyncrouter import Disposition, ModelManager, ModelManagerProvider, Router, SyncRouter
from asyncrouter.container import ContainerFactory
from asyncrouter.routed_stream import RoutedStream
from asyncrouter.router import AgentRouter
from asyncrouter.sync import SyncAgentRouter, SyncStream
from asyncrouter.types import decisions, errors, metrics, response, trace

TWO_MODELS = {
    "model": {"primary_model": "gpt-4", "backup_model": "gpt-3.5-turbo", "complexity_threshold": 0.7,
              "max_retries": 5, "initial_delay": 1.0, "backoff_factor": 2.0, "jitter": True},
    "agents": {"recon": {"model_name": "gpt-4", "backup_model": "gpt-3.5-turbo", "complexity_threshold": 0.8}},
}  # fmt: skip


# ------------------------------------------------------------------ names


def imported_for_type_checkers():
    """Return what ``asyncrouter/__init__.py`` imports for type checkers: name to module."""
    tree = ast.parse(Path(asyncrouter.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    found = {}
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        for alias in node.names:
            assert alias.asname == alias.name, f"{alias.name}: write it as an explicit re-export"
            found[alias.name] = node.module
    return found


def test_the_names_are_sorted_and_each_stands_once():
    assert list(asyncrouter.__all__) == sorted(set(asyncrouter.__all__))


def test_type_checkers_see_the_same_names_from_the_same_modules():
    assert imported_for_type_checkers() == asyncrouter._MODULE_OF
    assert {*asyncrouter._MODULE_OF, "__version__"} == set(asyncrouter.__all__)


@pytest.mark.parametrize("name", asyncrouter.__all__)
def test_every_name_resolves(name):
    value = getattr(asyncrouter, name)
    assert name in dir(asyncrouter)
    if name != "__version__":
        module = importlib.import_module(asyncrouter._MODULE_OF[name])
        assert value is getattr(module, name)
        assert inspect.getdoc(value)


def test_the_contracts_names_are_there():
    names = {"Router", "SyncRouter", "RouterConfig", "ModelManager", "ModelManagerProvider", "with_exponential_backoff",
             "hookimpl"}  # fmt: skip
    assert names <= set(asyncrouter.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'asyncrouter' has no attribute 'Ruoter'"):
        _ = asyncrouter.Ruoter


def test_the_version_is_one():
    assert asyncrouter.__version__ == importlib.import_module("asyncrouter.version").VERSION


@pytest.mark.parametrize("kind", ["Estimator", "Selector", "Retry", "Fallback", "Judge", "Provider", "Plugin"])
def test_the_kits_contracts_are_classes_to_inherit_from(kind):
    contract = getattr(importlib.import_module("asyncrouter.testing"), f"{kind}Contract")
    assert inspect.isclass(contract)
    assert any(name.startswith("test_") for name in dir(type("Own", (contract,), {})))


# ------------------------------------------------------------------ signatures

CALL = "prompt, *, model=None, complexity=None, deadline_s=None, session=None, metadata=None, **params"
MANAGER_CALL = "prompt, model=None, complexity=None, **params"
SIGNATURES = [
    (Router.from_config, "source=None"),
    (Router.generate, f"self, {CALL}"),
    (Router.stream, f"self, {CALL}"),
    (Router.explain, "self, prompt, *, model=None, complexity=None, **params"),
    (Router.for_agent, "self, name"),
    (Router.metrics, "self"),
    (Router.register, "self, plugin"),
    (Router.unregister, "self, plugin"),
    (Router.feedback, "self, response, score"),
    (AgentRouter.generate, f"self, {CALL}"),
    (AgentRouter.stream, f"self, {CALL}"),
    (AgentRouter.metrics, "self"),
    (ModelManager, "primary_model=None, backup_model=None, complexity_threshold=None, *, config=None, router=None"),
    (ModelManager.generate, f"self, {MANAGER_CALL}"),
    (ModelManager.generate_async, f"self, {MANAGER_CALL}"),
    (ModelManager.estimate_complexity, "self, prompt"),
    (ModelManager.get_metrics, "self"),
    (ModelManagerProvider.create_manager, "primary_model=None, backup_model=None, **options"),
    (ModelManagerProvider.create_for_agent, "agent, config=None, **options"),
    (ContainerFactory.create_container, "config=None"),
]


def lacking(function, wanted):
    """Return what *function* lacks of the signature *wanted*; more keyword-only parameters with defaults may stand."""
    expected = inspect.signature(eval(f"lambda {wanted}: None")).parameters  # noqa: S307 - of our own making
    actual = dict(inspect.signature(function).parameters)
    faults = []
    for name, one in expected.items():
        found = actual.pop(name, None)
        if found is None or found.default != one.default:
            faults.append(f"{name}: {found}")
        elif found.kind is not one.kind and name not in {"self", "prompt", "response"}:  # these may be by position only
            faults.append(f"{name}: is {found.kind.description}")
    positions = [name for name in expected if expected[name].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    if list(inspect.signature(function).parameters)[: len(positions)] != positions:
        faults.append("the order")
    return faults + [f"{one}: is new and not optional by keyword" for one in actual.values()
                     if one.kind is not one.VAR_KEYWORD and (one.default is one.empty)]  # fmt: skip


@pytest.mark.parametrize(("function", "wanted"), SIGNATURES, ids=[one.__qualname__ for one, _ in SIGNATURES])
def test_the_signature_is_the_contracts(function, wanted):
    assert not lacking(function, wanted)


def test_a_lacking_signature_is_found():
    assert lacking(lambda a, b=1: None, "a, b=2") == ["b: b=1"]
    assert lacking(lambda a: None, "a, b=2") == ["b: None", "the order"]
    assert lacking(lambda a, c: None, "a") == ["c: is new and not optional by keyword"]
    assert lacking(lambda b, a: None, "a, b") == ["the order"]
    assert lacking(lambda a, b=2: None, "a, *, b=2") == ["b: is positional or keyword"]


@pytest.mark.parametrize("name", ["generate", "explain", "feedback"])
def test_the_async_door_is_async(name):
    assert inspect.iscoroutinefunction(getattr(Router, name))
    assert not inspect.iscoroutinefunction(getattr(SyncRouter, name))


def public(kind):
    return {name for name in dir(kind) if not name.startswith("_")}


ASYNC_ONLY = {
    "aclose": "the sync door's is close",
    "enter": "for the doors, not for callers",
    "agent_plan": "for the doors, not for callers",
    "plan": "for the facade, not for callers",
}


def test_the_sync_door_offers_what_the_async_one_does():
    assert public(Router) - public(SyncRouter) <= set(ASYNC_ONLY)
    assert public(AgentRouter) - public(SyncAgentRouter) <= {"name", "plan"}  # an instance attribute, and the facade's
    for kind, twin in ((Router, SyncRouter), (AgentRouter, SyncAgentRouter)):
        for name in sorted(public(kind) & public(twin)):
            if callable(getattr(kind, name)):
                ours, theirs = (inspect.signature(getattr(one, name)).parameters for one in (kind, twin))
                assert list(ours.values()) == list(theirs.values()), name


@pytest.mark.parametrize(("kind", "enter", "leave"), [(Router, "__aenter__", "__aexit__"),
    (SyncRouter, "__enter__", "__exit__"), (RoutedStream, "__aenter__", "__aexit__"),
    (SyncStream, "__enter__", "__exit__")])  # fmt: skip
def test_doors_and_streams_are_context_managers(kind, enter, leave):
    assert callable(getattr(kind, enter))
    assert callable(getattr(kind, leave))


# ------------------------------------------------------------------ what comes back

COUNTS = "calls failures retries fallbacks hedges input_tokens output_tokens cost_usd latency_s"
FIELDS = [
    (response.Response, "text message tool_calls finish_reason model deployment usage cost_usd raw trace"),
    (response.Usage, "input_tokens output_tokens"),
    (response.Chunk, "text kind"),
    (RoutedStream, "response"),
    (SyncStream, "response"),
    (trace.RouteTrace, "attempts estimate selection"),
    (trace.Attempt, "deployment outcome error duration_s reason"),
    (decisions.Estimate, "complexity reason"),
    (decisions.Decision, "estimate selection ranking"),
    (decisions.Ranked, "rank deployment expected_cost_usd reason"),
    (decisions.Selection, "deployments reason propensity parallel"),
    (metrics.Metrics, "deployments agents"),
    (metrics.DeploymentMetrics, f"{COUNTS} breaker"),
    (metrics.AgentMetrics, COUNTS),
    (metrics.LatencyQuantiles, "p50 p95 p99"),
]


@pytest.mark.parametrize(("kind", "names"), FIELDS, ids=[kind.__name__ for kind, _ in FIELDS])
def test_the_contracts_fields_are_there(kind, names):
    assert set(names.split()) <= public(kind)


@pytest.mark.parametrize("kind", [kind for kind, _ in FIELDS if attrs.has(kind)])
def test_what_travels_is_frozen(kind):
    field = attrs.fields(kind)[0].name
    blank = object.__new__(kind)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(blank, field, 1)


# ------------------------------------------------------------------ the facade


def test_the_facade_counts_and_estimates_without_a_key_or_a_call():
    manager = ModelManager(primary_model="gpt-4", backup_model="gpt-3.5-turbo", complexity_threshold=0.7)
    assert 0.0 <= manager.estimate_complexity("What is 2 + 2?") <= 1.0
    counts = manager.get_metrics()
    assert {"primary_calls": 0, "backup_calls": 0, "failures": 0}.items() <= counts.items()


def test_the_original_dictionary_makes_managers():
    manager = ModelManagerProvider.create_for_agent("recon", TWO_MODELS)
    assert (manager.primary_model, manager.backup_model) == ("gpt-4", "gpt-3.5-turbo")
    assert manager.complexity_threshold == 0.8
    assert isinstance(ModelManagerProvider.create_manager("gpt-4", "gpt-3.5-turbo"), ModelManager)


def test_the_container_offers_managers_and_the_router():
    container = ContainerFactory.create_container({"agents": {"recon": {"complexity_threshold": 0.8}}})
    assert {"model_manager", "recon_model_manager", "router"} <= set(container.providers)
    assert container.config()["model"]["primary_model"] == TWO_MODELS["model"]["primary_model"]


def test_the_decorator_works_bare_and_with_options_on_both_kinds_of_function():
    decorate = asyncrouter.with_exponential_backoff
    options = {"max_retries": 5, "initial_delay": 1.0, "backoff_factor": 2.0, "jitter": True,
               "retry_on": (asyncrouter.RateLimited,)}  # fmt: skip

    def plain(number: int) -> int:
        """Return one more."""
        return number + 1

    async def waiting(number: int) -> int:
        return number + 1

    for one in (decorate(plain), decorate(**options)(plain)):
        assert one(1) == 2
        assert (one.__name__, one.__doc__) == ("plain", "Return one more.")
    for one in (decorate(waiting), decorate(**options)(waiting)):
        assert inspect.iscoroutinefunction(one)
        assert asyncio.run(one(1)) == 2


# ------------------------------------------------------------------ errors

RETRY, FALLBACK, RAISE = Disposition.RETRY, Disposition.FALLBACK, Disposition.RAISE
TREE = {
    # error: its bases, what it permits, its attributes
    "AsyncRouterError": ((Exception,), None, "trace"),
    "ConfigError": ((errors.AsyncRouterError, ValueError), None, "faults"),
    "UnknownStrategy": ((errors.ConfigError,), None, "faults"),
    "PluginError": ((errors.AsyncRouterError,), None, "plugin hook"),
    "PluginLoadError": ((errors.PluginError,), None, "plugin hook"),
    "PluginContractError": ((errors.PluginError,), None, "plugin hook"),
    "RoutingError": ((errors.AsyncRouterError,), None, "trace"),
    "UnknownModelGroup": ((errors.RoutingError, LookupError), None, "trace"),
    "NoDeploymentAvailable": ((errors.RoutingError,), None, "trace retry_after_s"),
    "DeadlineExceeded": ((errors.RoutingError, TimeoutError), None, "trace"),
    "BudgetExceeded": ((errors.RoutingError,), None, "trace"),
    "RouterClosed": ((errors.RoutingError,), None, "trace"),
    "AllAttemptsFailed": ((errors.RoutingError,), None, "trace errors"),
    "ProviderError": ((errors.AsyncRouterError,), RETRY, "deployment status request_id retry_after_s disposition"),
    "RateLimited": ((errors.ProviderError,), RETRY, ""),
    "QuotaExhausted": ((errors.ProviderError,), FALLBACK, ""),
    "Overloaded": ((errors.ProviderError,), RETRY, ""),
    "ServerError": ((errors.ProviderError,), RETRY, ""),
    "ConnectionFailed": ((errors.ProviderError, ConnectionError), RETRY, "lost_before_answer"),
    "AttemptTimedOut": ((errors.ProviderError, TimeoutError), FALLBACK, ""),
    "MalformedResponse": ((errors.ProviderError,), RETRY, ""),
    "StreamInterrupted": ((errors.ProviderError,), RETRY, "partial"),
    "AuthenticationFailed": ((errors.ProviderError,), FALLBACK, ""),
    "ModelNotFound": ((errors.ProviderError,), FALLBACK, ""),
    "ContentFiltered": ((errors.ProviderError,), RAISE, ""),
    "InvalidRequest": ((errors.ProviderError, ValueError), RAISE, ""),
    "ContextWindowExceeded": ((errors.InvalidRequest,), RAISE, ""),
}


@pytest.mark.parametrize(("name", "bases", "disposition", "fields"), [(name, *row) for name, row in TREE.items()])
def test_an_error_stands_in_its_place(name, bases, disposition, fields):
    kind = getattr(asyncrouter, name)
    assert kind.__bases__ == bases
    error = kind("what happened")
    assert str(error) == "what happened"
    assert all(hasattr(error, field) for field in fields.split())
    if disposition is not None:
        assert error.disposition is disposition
        assert kind("x", deployment="d", disposition=RAISE).disposition is RAISE


def test_the_table_of_errors_is_complete_and_drawn():
    kinds = {name for name, one in vars(errors).items() if inspect.isclass(one) and issubclass(one, BaseException)}
    assert kinds == set(TREE)
    for name in kinds:
        assert name in errors.__doc__, f"{name} is missing in the tree of the module's docstring"


# ------------------------------------------------------------------ what importing costs

HEAVY = ("aiohttp", "structlog", "cattrs", "yaml", "click", "rich", "matplotlib", "orjson", "numpy", "genai_prices",
         "dependency_injector", "pytest", "uvloop")  # fmt: skip
MOST_MODULES = {"import asyncrouter": 40, "from asyncrouter import Router": 270}
"""Modules beyond those of a bare interpreter; counted with room for other Python versions (31 and 213 on 3.11)."""


def loaded_by(code):
    program = (
        f"import sys; before = set(sys.modules)\n{code}\nimport json; print(json.dumps([*set(sys.modules) - before]))"
    )
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return set(json.loads(done.stdout))


@pytest.mark.parametrize(("code", "most"), MOST_MODULES.items())
def test_importing_stays_light(code, most):
    loaded = loaded_by(code)
    assert not loaded & set(HEAVY)
    assert len(loaded) <= most, f"{len(loaded)} modules: {sorted(loaded)}"


def test_importing_the_package_loads_nothing_of_it_and_nobody_elses():
    loaded = loaded_by("import asyncrouter")
    assert {name for name in loaded if name.partition(".")[0] not in sys.stdlib_module_names} == {
        "asyncrouter",
        "asyncrouter.version",
    }


def test_everything_public_together_loads_nothing_that_is_lazy():
    assert not loaded_by("from asyncrouter import *") & {"aiohttp", "structlog", "click", "rich", "matplotlib"}


def test_shadows_and_affinity_are_loaded_where_a_configuration_asks_for_them():
    lazy = {"asyncrouter.engine.shadow", "asyncrouter.strategies.affinity.affinity"}
    assert not loaded_by("from asyncrouter import Router") & lazy
