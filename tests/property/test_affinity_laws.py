"""Affinity under any traffic: it loses nobody, tells the truth about chance, keeps its floor and its bounds."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from asyncrouter.strategies.affinity.affinity import SessionAffinity
from asyncrouter.testing.fleet import FakeFleet
from asyncrouter.types.decisions import Estimate, Selection
from asyncrouter.types.deployments import AffinitySettings, Deployment, Price
from asyncrouter.types.events import RequestFinished
from asyncrouter.types.request import Request
from asyncrouter.types.response import Response, Usage
from asyncrouter.types.trace import Attempt, AttemptKind, Outcome, RouteTrace

PRICES = (None, Price(input=1, output=2), Price(input=3, cached_input=0.3, output=15), Price(input=0, output=0))
SESSIONS = 3

groups = st.lists(st.sampled_from(PRICES), min_size=1, max_size=4).map(
    lambda prices: tuple(
        Deployment(name=f"d{place}", provider="p", model=f"m{place}", price=price) for place, price in enumerate(prices)
    )
)
requests = st.lists(
    st.tuples(
        st.integers(0, 5),  # which session
        st.permutations(range(4)),  # the selector's order
        st.sets(st.integers(0, 3), min_size=1),  # who is a candidate
        st.integers(0, 3),  # who answers, counted in the selection
        st.floats(0.1, 1.0),  # propensity
        st.integers(0, 20_000),  # cached tokens
        st.sampled_from(["x", "y" * 9000]),
        st.booleans(),  # whether the caller names the session
    ),
    max_size=25,
)


@settings(max_examples=80, deadline=None)
@given(groups, requests, st.integers(1, 4))
def test_its_laws(deployments, traffic, ease):
    affinity = SessionAffinity(deployments, AffinitySettings(ease=ease, sessions=SESSIONS))
    for now, (number, order, present, answerer, propensity, cached, text, named) in enumerate(traffic):
        candidates = tuple(deployments[place] for place in sorted(present) if place < len(deployments)) or deployments
        ordered = tuple(deployments[i] for i in order if i < len(deployments) and deployments[i] in candidates)
        inner = Selection(deployments=ordered, propensity=propensity)
        session = f"s{number}" if named else None
        request = Request(messages=[{"role": "user", "content": f"{number}{text}"}], session=session)
        state = FakeFleet(now=float(now))
        select = affinity.around(lambda *_, inner=inner: inner)
        found = select(request, Estimate(complexity=0.5), candidates, state)
        assert select(request, Estimate(complexity=0.5), candidates, state) == found, "looking changes nothing"
        assert sorted(one.name for one in found.deployments) == sorted(one.name for one in ordered)
        kept = found.deployments[0] is ordered[0]
        assert found.propensity == (propensity if kept else 1.0)
        tier = {one.name: place for place, one in enumerate(deployments)}
        strong_enough = [one for one in candidates if tier[one.name] >= found.session.floor]
        assert not strong_enough or found.deployments[0] in strong_enough
        name = found.deployments[answerer % len(found.deployments)].name
        attempt = Attempt(
            number=1, deployment=name, group="g", kind=AttemptKind.FIRST, outcome=Outcome.OK, started_at=float(now)
        )
        trace = RouteTrace(request_id="r", groups=("g",), selection=found, attempts=(attempt,))
        response = Response(
            raw={}, deployment=name, model="m", usage=Usage(input_tokens=20_000, cached_input_tokens=cached)
        )
        affinity.asyncrouter_observe(RequestFinished(request, trace, response))
        assert affinity._sessions[found.key].home == name
        assert len(affinity._sessions) <= SESSIONS
        assert len(affinity._caches) <= 8 * SESSIONS
        assert all(0.0 <= affinity._caches.share(one.name) <= 1.0 for one in deployments)
