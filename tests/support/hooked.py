"""Plugins of one hook, and calls plain or streamed, for tests of hooks on a whole router."""

from __future__ import annotations

from asyncrouter import hookimpl


def plugin(hook, function):
    """Return a plugin with one implementation."""
    kind = type("Plugin", (), {f"asyncrouter_{hook}": hookimpl(function)})
    kind.name = f"the-{hook}"
    return kind()


async def ask(router, streamed):
    """Return the answer of a plain or of a streamed call."""
    if not streamed:
        return await router.generate("hi")
    async with router.stream("hi") as stream:
        [chunk async for chunk in stream]
    return stream.response
