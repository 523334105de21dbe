"""Errors: what they carry, that they travel between processes, and that they fit the standard library's families."""

from __future__ import annotations

import copy
import inspect
import pickle

import pytest

from asyncrouter.types import errors
from asyncrouter.types.decisions import Estimate, Selection
from asyncrouter.types.deployments import Deployment, Limits, Price
from asyncrouter.types.errors import (
    AllAttemptsFailed,
    AsyncRouterError,
    AttemptTimedOut,
    ConfigError,
    ConfigFault,
    ConnectionFailed,
    ContextWindowExceeded,
    DeadlineExceeded,
    Disposition,
    InvalidRequest,
    NoDeploymentAvailable,
    PluginContractError,
    ProviderError,
    RateLimited,
    RoutingError,
    StreamInterrupted,
    UnknownModelGroup,
    UnknownStrategy,
)
from asyncrouter.types.trace import Attempt, AttemptKind, Outcome, RouteTrace

KINDS = sorted(
    (one for one in vars(errors).values() if inspect.isclass(one) and issubclass(one, AsyncRouterError)),
    key=lambda kind: kind.__name__,
)
DEPLOYMENT = Deployment(name="a", provider="p", model="m", price=Price(input=1, output=2), limits=Limits(rpm=5))


def trace():
    failure = RateLimited("slow down", deployment="a", status=429, retry_after_s=2.0)
    attempt = Attempt(
        number=1, deployment="a", group="chat", kind=AttemptKind.FIRST, outcome=Outcome.FAILED, error=failure
    )
    return RouteTrace(
        request_id="r1",
        groups=("chat",),
        estimate=Estimate(complexity=0.5),
        selection=Selection(deployments=(DEPLOYMENT,)),
        attempts=(attempt,),
    )


def every_kind():
    """Return one error of each class with everything that it can carry."""
    values = {
        "trace": trace(),
        "faults": [ConfigFault("groups.chat", "is wrong", "mend it")],
        "plugin": "asyncrouter-word",
        "hook": "asyncrouter_select",
        "retry_after_s": 1.5,
        "errors": [RateLimited("one"), AttemptTimedOut("two")],
        "deployment": "a",
        "status": 418,
        "request_id": "req-1",
        "disposition": Disposition.RAISE,
        "lost_before_answer": True,
        "partial": "Once upon",
    }
    made = []
    for kind in KINDS:
        parameters = () if kind is AsyncRouterError else inspect.signature(kind).parameters.values()
        named = {one.name: values[one.name] for one in parameters if one.kind is one.KEYWORD_ONLY}
        error = kind("what happened", **named)
        error.trace = trace()
        made.append(error)
    return made


def contents(error):
    """Return everything that *error* carries, in a form that compares by contents."""
    fields = {**vars(error)}
    for name, value in fields.items():
        if isinstance(value, RouteTrace):
            fields[name] = repr(value)
        elif isinstance(value, tuple):
            fields[name] = [contents(one) if isinstance(one, Exception) else one for one in value]
    return type(error), error.args, str(error), fields


@pytest.mark.parametrize("error", every_kind(), ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(
    "travel",
    [*(lambda e, p=p: pickle.loads(pickle.dumps(e, p)) for p in range(2, 6)), copy.copy, copy.deepcopy],  # noqa: S301 - our own
)
def test_an_error_survives_the_journey(error, travel):
    again = travel(error)
    assert contents(again) == contents(error)
    assert str(again) == "what happened"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_error_needs_nothing_but_its_class(kind):
    assert str(kind()) == ""
    assert kind().trace is None
    with pytest.raises(AsyncRouterError, match=r"^words$"):
        raise kind("words")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_the_families_of_the_standard_library_keep_their_manners(kind):
    """``OSError`` and ``LookupError`` have constructors and texts of their own, which must not get in the way."""
    error = kind("words")
    assert error.args == ("words",)
    assert repr(error) == f"{kind.__name__}('words')"
    assert getattr(error, "errno", None) is None


@pytest.mark.parametrize(
    ("kind", "family"),
    [
        (ConfigError, ValueError),
        (UnknownStrategy, ValueError),
        (UnknownModelGroup, LookupError),
        (DeadlineExceeded, TimeoutError),
        (ConnectionFailed, ConnectionError),
        (AttemptTimedOut, TimeoutError),
        (InvalidRequest, ValueError),
        (ContextWindowExceeded, ValueError),
    ],
)
def test_the_builtin_family_catches_it(kind, family):
    with pytest.raises(family):
        raise kind("words")


def test_the_disposition_is_the_classes_own_unless_given():
    assert ProviderError().disposition is Disposition.RETRY
    assert ProviderError(disposition=Disposition.RAISE).disposition is Disposition.RAISE
    assert AttemptTimedOut().disposition is Disposition.FALLBACK
    assert StreamInterrupted(disposition=Disposition.FALLBACK).disposition is Disposition.FALLBACK


def test_a_fault_reads_as_a_line():
    assert str(ConfigFault("a.b", "is wrong", "mend it")) == "a.b: is wrong; mend it"
    assert str(ConfigFault("a.b", "is wrong")) == "a.b: is wrong"
    assert str(ConfigFault("", "is wrong", "mend it")) == "is wrong; mend it"


def test_a_config_error_tells_all_its_faults():
    faults = [ConfigFault("a", "one"), ConfigFault("b", "two", "three")]
    error = ConfigError(faults=faults)
    assert str(error) == "a: one\nb: two; three"
    assert error.faults == tuple(faults)
    assert str(ConfigError("in short", faults=faults)) == "in short"


def test_a_message_alone_is_a_fault():
    """Whoever collects faults must not lose an error that a stranger raised with a message only."""
    assert ConfigError("set X").faults == (ConfigFault("", "set X"),)
    assert ConfigError().faults == ()


def test_what_the_others_carry():
    failed = [RateLimited("one")]
    assert AllAttemptsFailed("x", errors=failed).errors == tuple(failed)
    assert NoDeploymentAvailable("x", retry_after_s=3.0).retry_after_s == 3.0
    assert RoutingError("x", trace=trace()).trace.request_id == "r1"
    broken = PluginContractError("x", plugin="p", hook="h")
    assert (broken.plugin, broken.hook) == ("p", "h")
    lost = ConnectionFailed("x", deployment="a", lost_before_answer=True)
    assert (lost.deployment, lost.status, lost.retry_after_s, lost.lost_before_answer) == ("a", None, None, True)
    assert StreamInterrupted("x", partial="Once", status=200, request_id="r").partial == "Once"
