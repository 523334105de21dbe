"""Plugins of one hook, and calls plain or streamed, for tests of hooks on a whole router."""

from __future__ import annotations

from asyncrouter import hookimpl


def plugin(hook, function):
    """Return a plugin with one implementation."""
    kind = type("Plugin", (), {f"asyncrouter_{hook}": hookimpl(function)})
    kind.name = f"the-{hook}"
    return kind()


class Cache:
    """Gives the first answer to every request, without asking anybody again."""

    def __init__(self):
        self.answer = None

    @hookimpl
    async def asyncrouter_around_request(self, call, request):
        """Ask once."""
        self.answer = self.answer or await call(request)
        return self.answer


async def ask(router, streamed):
    """Return the answer of a plain or of a streamed call."""
    if not streamed:
        return await router.generate("hi")
    async with router.stream("hi") as stream:
        [chunk async for chunk in stream]
    return stream.response
