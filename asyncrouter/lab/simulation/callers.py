"""Those who ask: requests come as the arrival process says, each a task of its own, and their ends are counted."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from asyncrouter.lab.simulation.arrivals import Closed
from asyncrouter.lab.simulation.draws import Draw
from asyncrouter.lab.simulation.record import RequestRecord
from asyncrouter.lab.simulation.schema import PromptSettings, SimulationSettings
from asyncrouter.lab.simulation.upstream import SIZE, WORD, Size
from asyncrouter.router import Router
from asyncrouter.types.errors import AsyncRouterError
from asyncrouter.types.request import Message

MOST_TOKENS = 100_000
"""Longer lengths are cut: a heavy tail must not fill the memory with one prompt."""
LEAST_THINKING_S = 0.001
"""A caller of the closed loop who is refused at once must not ask again in the same moment, for ever."""


def dice(seed: int, whose: str) -> random.Random:
    """Return a generator for each part of a simulation: what one draws changes nothing for the others."""
    return random.Random(f"{seed}:{whose}")  # noqa: S311 - no secret


class Prompts:
    """What is asked: lengths and complexity of one request after another."""

    def __init__(self, settings: PromptSettings, random: random.Random) -> None:
        self._settings = settings
        self._random = random

    def next(self) -> tuple[list[Message], dict[str, Any]]:
        """Return the messages of the next request, and the other arguments of its call."""
        settings, random = self._settings, self._random
        size = Size(*(self._tokens(draw) for draw in (settings.input_tokens, settings.output_tokens)))
        return [{"role": "user", "content": WORD * size.input}], {
            "model": settings.model,
            "complexity": min(1.0, settings.complexity.sample(random)),
            "metadata": {SIZE: size},
        }

    def _tokens(self, draw: Draw) -> int:
        return max(1, min(MOST_TOKENS, round(draw.sample(self._random))))

    def is_streamed(self) -> bool:
        """Whether the next request asks for a stream."""
        share = self._settings.stream
        return share > 0 and self._random.random() < share


class Callers:
    """Sends every request of a simulation to *router* and counts in *record* what came of it."""

    def __init__(self, router: Router, settings: SimulationSettings, record: RequestRecord) -> None:
        self._router = router
        self._settings = settings
        self._record = record
        self._prompts = Prompts(settings.prompts, dice(settings.seed, "prompts"))

    async def all_ended(self) -> None:
        """Send every request, and wait until each has ended."""
        arrivals, random = self._settings.arrivals, dice(self._settings.seed, "arrivals")
        async with asyncio.TaskGroup() as tasks:
            if isinstance(arrivals, Closed):
                for _ in range(arrivals.callers):
                    tasks.create_task(self._caller(arrivals, random))
                return
            for gap_s in arrivals.gaps_s(random):
                if gap_s:
                    await asyncio.sleep(gap_s)
                if self._is_over():
                    return
                tasks.create_task(self._request(self._record.arrived()))

    async def _caller(self, arrivals: Closed, random: random.Random) -> None:
        while not self._is_over():
            await self._request(self._record.arrived())
            await asyncio.sleep(max(LEAST_THINKING_S, arrivals.think_s.sample(random)))

    def _is_over(self) -> bool:
        settings, record = self._settings, self._record
        return record.now() >= settings.duration_s or record.begun == settings.requests

    async def _request(self, began: float) -> None:
        messages, options = self._prompts.next()
        try:
            if self._prompts.is_streamed():
                async with self._router.stream(messages, **options) as chunks:
                    self._record.first_outputs_s.append(self._record.now() - began)
                    async for _ in chunks:
                        pass
                response = chunks.response
            else:
                response = await self._router.generate(messages, **options)
        except AsyncRouterError as error:
            self._record.ended(began, type(error).__name__, 0 if error.trace is None else error.trace.waits)
        else:
            self._record.ended(began, None, response.trace.waits)
