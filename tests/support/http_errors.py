"""Errors as upstreams write them over HTTP, calls that meet them, and what is counted for the deployment."""

from __future__ import annotations

import pytest

from asyncrouter.testing.http_script import Json, completion, sse_completion

QUICK = {"use": "exponential", "initial_delay_s": 0.02}
ALONE = {"deployments": ["a"]}
streamed_too = pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])


def said(status, message="no", *, headers=None, **fields):
    """Return an error as OpenAI writes them."""
    return Json({"error": {"message": message, **fields}}, status, headers=headers or {})


def reply(streamed, text="ok"):
    """Return an upstream's answer to a plain call or to a streamed one."""
    return sse_completion(text) if streamed else completion(text)


async def answer(f, *, streamed=False, **arguments):
    """Make one call, plain or streamed to its end, and return the response."""
    return (await f.read(**arguments))[1] if streamed else await f.ask(**arguments)


async def fails(f, kind, *, streamed=False, **arguments):
    """Make one call that must end in exactly this error, and return it."""
    with pytest.raises(kind) as caught:
        await answer(f, streamed=streamed, **arguments)
    assert type(caught.value) is kind
    return caught.value


def in_a_row(f, name="a", state="closed"):
    """Return how many failures in a row the breaker of a deployment has counted; it is in *state*."""
    assert f.state(name).breaker.state == state
    return f.state(name).breaker._failures_in_a_row


def cooldown(f, name="a"):
    """Return for how long a deployment is set aside, in seconds."""
    return max(0.0, f.state(name).cooldown_until - f.now())
