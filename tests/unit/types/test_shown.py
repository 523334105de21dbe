"""Nothing that travels shows a prompt, an answer, a key or a caller's parameters in its ``repr`` or ``str``."""

from __future__ import annotations

import attrs
import pytest

from asyncrouter.types.decisions import Decision, Estimate, Fallback, Selection
from asyncrouter.types.deployments import Deployment, ModelGroup
from asyncrouter.types.errors import AllAttemptsFailed, PluginError, RateLimited
from asyncrouter.types.events import AttemptFinished, BreakerChanged, FeedbackGiven, PluginFailed, RequestFinished
from asyncrouter.types.metrics import AgentMetrics, Metrics
from asyncrouter.types.request import Request
from asyncrouter.types.response import Chunk, Response
from asyncrouter.types.secrets import Secret
from asyncrouter.types.trace import Attempt, AttemptKind, Outcome, RouteTrace, TraceBuilder

HIDDEN = "zanzibar-sentinel"

DEPLOYMENT = Deployment(name="a", provider="p", model="m", params={"user": HIDDEN}, tags=frozenset({HIDDEN}))
GROUP = ModelGroup(name="chat", deployments=(DEPLOYMENT,), params={"key": HIDDEN})
REQUEST = Request(
    messages=[{"role": "user", "content": HIDDEN}],
    params={"tools": [HIDDEN]},
    session=HIDDEN,
    metadata={"tenant": HIDDEN},
    model="chat",
    id="r1",
)
RAW = {"choices": [{"message": {"content": HIDDEN}, "delta": {"content": HIDDEN}}]}
ERROR = RateLimited("slow down", deployment="a", status=429)
ATTEMPT = Attempt(number=1, deployment="a", group="chat", kind=AttemptKind.FIRST, outcome=Outcome.FAILED, error=ERROR)
SELECTION = Selection(deployments=(DEPLOYMENT,))
ESTIMATE = Estimate(complexity=0.5)
TRACE = RouteTrace(request_id="r1", attempts=(ATTEMPT,), selection=SELECTION, estimate=ESTIMATE)
RESPONSE = Response(raw=RAW, deployment="a", model="m", trace=TRACE, headers={"set-cookie": HIDDEN})

SHOWN = [
    DEPLOYMENT,
    GROUP,
    REQUEST,
    RESPONSE,
    Chunk(RAW),
    ATTEMPT,
    SELECTION,
    ESTIMATE,
    TRACE,
    Fallback(deployment=DEPLOYMENT),
    Decision(group="chat", estimate=ESTIMATE, selection=SELECTION, ranking=()),
    AttemptFinished(REQUEST, ATTEMPT),
    RequestFinished(REQUEST, TRACE, RESPONSE),
    RequestFinished(REQUEST, TRACE, None, AllAttemptsFailed("all failed", errors=[ERROR])),
    FeedbackGiven(RESPONSE, 0.5),
    PluginFailed(PluginError("broken", plugin="p")),
    BreakerChanged("a", "closed", "open"),
    TraceBuilder("r1", None, "chat", 0.0),
    Metrics(total=AgentMetrics(), deployments={}, agents={}, plugin_failures={}),
    Secret(HIDDEN),
]


@pytest.mark.parametrize("one", SHOWN, ids=lambda one: type(one).__name__)
def test_it_hides_what_it_holds(one):
    for text in (repr(one), str(one), f"{one}", repr([one])):
        assert HIDDEN not in text


def test_the_sentinel_is_really_in_there():
    for one in (DEPLOYMENT, GROUP, REQUEST, RESPONSE):
        assert HIDDEN in str(attrs.asdict(one, recurse=False))


def test_what_is_shown_is_what_one_wants_to_read():
    assert repr(DEPLOYMENT) == "Deployment(name='a', provider='p', model='m')"
    assert "model='chat'" in repr(REQUEST)
    assert "id='r1'" in repr(REQUEST)
    assert repr(Chunk(RAW)) == "Chunk(kind='delta')"
    assert repr(RESPONSE).startswith("Response(deployment='a', model='m', usage=Usage(")
