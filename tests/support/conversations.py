"""Conversations with a router that keeps them together, and what their answers and deployments cost."""

from __future__ import annotations

from asyncrouter.testing import Reply, fake_router
from asyncrouter.types.deployments import Price
from asyncrouter.types.response import Usage

CHEAP = Price(input=1.0, cached_input=0.1, output=5.0)
DEAR = Price(input=3.0, cached_input=0.3, output=15.0)
LONG = "word " * 8000
"""About 10,000 tokens."""


def user(text):
    return {"role": "user", "content": text}


def assistant(text="ok", **more):
    return {"role": "assistant", "content": text, **more}


def tables(**prices):
    return {
        name: {"price": {"input": one.input, "cached_input": one.cached_input, "output": one.output}}
        for name, one in prices.items()
    }


def answer(tokens=10_000, cached=0, output=10):
    return Reply(usage=Usage(input_tokens=tokens, output_tokens=output, cached_input_tokens=cached))


COMPLEXITY = {"use": "complexity", "threshold": 0.5}


def router_of(script=None, *, deployments=None, select=COMPLEXITY, affinity=None, **more):
    deployments = deployments or tables(a=CHEAP, b=DEAR)
    return fake_router(
        script or answer(cached=10_000), deployments=deployments, select=select, affinity=affinity or {}, **more
    )
