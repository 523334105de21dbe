"""What is read of an answer's headers, whatever the answer before it had."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from asyncrouter.providers.headers import HeaderNames
from asyncrouter.types.allowances import Allowance

PLAIN = {"Content-Type": "application/json"}
LIMITED = {"Content-Type": "application/json", "X-RateLimit-Remaining-Requests": "3", "X-Request-Id": "r-1"}


def as_received(headers):
    return CIMultiDictProxy(CIMultiDict(headers))


@pytest.fixture
def names():
    return HeaderNames()


def test_kept_are_limits_and_ids_in_lower_case(names):
    kept = {"x-ratelimit-remaining-requests": "3", "x-request-id": "r-1"}
    assert names.told(as_received(LIMITED), 0.0)[0] == kept
    assert names.told(as_received({**LIMITED, "X-Request-Id": "r-2"}), 0.0)[0] == {**kept, "x-request-id": "r-2"}


def test_other_names_are_looked_at_anew(names):
    assert names.told(as_received(PLAIN), 0.0) == ({}, None)
    kept, allowances = names.told(as_received(LIMITED), 0.0)
    assert set(kept) == {"x-ratelimit-remaining-requests", "x-request-id"}
    assert allowances.requests == Allowance(3.0, None)
    assert names.told(as_received(PLAIN), 0.0) == ({}, None)
