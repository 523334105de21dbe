"""The scenarios of ``failures.py``: what each upstream does, how the deployments are grouped, how requests arrive.

The upstream is scripted: one loopback server a deployment, all of them in a process of their own, where the calls that
arrive are counted.  Every play of a scenario gets fresh servers; a script may remember what came before.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack

import attrs

from asyncrouter.testing.http_script import End, Gate, Hang, Http, Reset, Script, Sse, chunk, chunks, completion
from asyncrouter.testing.server import ReceivedRequest, ScriptedServer

WORDS = ("One ", "two ", "three ", "four ", "five ", "six ", "seven ", "eight.")
ANSWER = "".join(WORDS)
SERVICE_S = 0.02
"""What a healthy deployment takes to answer, or to begin a stream."""
WORD_S = 0.005
"""The pause after each word of a stream."""
USAGE = chunks("")[-1]

Behaviour = Callable[[ReceivedRequest], Script]
"""What one deployment does with a request."""
Behaving = Callable[[], Behaviour]
"""Makes a behaviour without memories."""
Event = Mapping[str, object] | str | bytes | float | Gate


def healthy(request: ReceivedRequest, service_s: float = SERVICE_S) -> Script:
    """Answer whole and in time: all words, or those that follow on the beginning which the request carries."""
    last = request.json["messages"][-1]
    begun = len(str(last["content"]).strip()) if last["role"] == "assistant" else 0
    words = [word for number, word in enumerate(WORDS) if len("".join(WORDS[: number + 1]).strip()) > begun]
    if not request.json.get("stream"):
        return attrs.evolve(completion("".join(words)), delay_s=service_s)
    return Sse([*beginning(words, service_s), chunk({}, "stop"), USAGE])


def beginning(words: Sequence[str], service_s: float = SERVICE_S) -> list[Event]:
    """Return a stream's events and pauses up to the last of *words*."""
    events: list[Event] = [service_s, chunk({"role": "assistant", "content": ""})]
    for word in words:
        events += [chunk({"content": word}), WORD_S]
    return events


def error(status: int, code: str = "server_error", *, retry_after: str | None = None) -> Script:
    """Return an error in the shape that the usual servers give it."""
    body = b'{"error": {"message": "scripted failure", "type": "%b", "code": "%b"}}' % (code.encode(), code.encode())
    headers = {"content-type": "application/json"} | ({"retry-after": retry_after} if retry_after else {})
    return Http(status, body, headers=headers)


def well() -> Behaviour:
    """Be healthy."""
    return healthy


def always(script: Script) -> Behaving:
    """Answer everything with *script*."""
    return lambda: lambda request: script


def every(period: int, script: Script) -> Behaving:
    """Answer the first of every *period* calls with *script*."""

    def fresh() -> Behaviour:
        calls = itertools.count()
        return lambda request: healthy(request) if next(calls) % period else script

    return fresh


def for_s(seconds: float, script: Script) -> Behaving:
    """Answer with *script* for so long from the first call on, and then be healthy."""

    def fresh() -> Behaviour:
        began: list[float] = []

        def behave(request: ReceivedRequest) -> Script:
            began.append(time.monotonic())
            return script if began[-1] - began[0] < seconds else healthy(request)

        return behave

    return fresh


def now_and_then(share: float, script: Script, seed: int) -> Behaving:
    """Answer that share of the calls with *script*."""

    def fresh() -> Behaviour:
        rng = random.Random(seed)  # noqa: S311 - a seed repeats the run
        return lambda request: script if rng.random() < share else healthy(request)

    return fresh


def slow(service_s: float) -> Behaving:
    """Answer whole, but only after *service_s*."""
    return lambda: lambda request: healthy(request, service_s)


DOWN = always(error(503, "overloaded"))
LIMITED = error(429, "rate_limit_exceeded")
LIMITED_1_S = error(429, "rate_limit_exceeded", retry_after="1")
LIMITED_60_S = error(429, "rate_limit_exceeded", retry_after="60")
HTML = Http(200, b"<html><body>Bad gateway</body></html>", headers={"content-type": "text/html"})
BROKEN = Http(200, b'{"id": "1", "choices": [{"index": 0, "mess', headers={"content-type": "application/json"})
CUT_BEFORE = Sse(beginning(()), cut_after=1)
CUT_AFTER = Sse(beginning(WORDS), cut_after=5)
STALL = Sse(beginning(WORDS), cut_after=5, end=End.HANG)
ENDS_EARLY = Sse(beginning(WORDS[:4]), done=False)
TOO_LATE_S = 4.0
"""Longer than any timeout of the benchmark."""
LONG_S = 0.13
"""Between requests where a failure takes long to be seen: those that come later can profit from what was learnt."""


@attrs.frozen
class Scenario:
    """One thing that goes wrong.

    The deployments of a group are interchangeable, in order of preference; a group is the fallback of the one before.
    ``requests`` arrive ``every_s``, whether those before have been answered or not.
    """

    name: str
    what: str
    groups: tuple[Mapping[str, Behaving], ...]
    stream: bool = False
    requests: int = 20
    every_s: float = 0.04


def group(*members: Behaving) -> tuple[Mapping[str, Behaving], ...]:
    """Return one group: deployments a, b, c."""
    return (dict(zip("abc", members, strict=False)),)


def chain(*members: Behaving) -> tuple[Mapping[str, Behaving], ...]:
    """Return groups of one deployment each: a, its fallback b, and c, the fallback of that."""
    return tuple({name: one} for name, one in zip("abc", members, strict=False))


SCENARIOS = (
    Scenario("healthy", "nothing is wrong", group(well, well)),
    Scenario("healthy, streamed", "nothing is wrong", group(well, well), stream=True),
    Scenario("outage of 1 in 2", "a answers 503; b is well", group(DOWN, well)),
    Scenario("outage of 2 in 3", "a and b answer 503; c is well", group(DOWN, DOWN, well)),
    Scenario("outage of all", "all three answer 503 for good", group(DOWN, DOWN, DOWN)),
    Scenario("outage of all, 2 s", "all three answer 503 for 2 s", group(*[for_s(2.0, error(503))] * 3)),
    Scenario("outage, 100 at once", "a answers 503; b is well", group(DOWN, well), requests=100, every_s=0.0),
    Scenario("resets", "a resets every connection; b is well", group(always(Reset()), well)),
    Scenario("chain of 2", "a answers 503; the fallback group b is well", chain(DOWN, well)),
    Scenario("chain of 3", "a and b answer 503; the last group c is well", chain(DOWN, DOWN, well)),
    Scenario("hang", "a never answers; b is well", group(always(Hang()), well), every_s=LONG_S),
    Scenario("hang, streamed", "a never answers; b is well", group(always(Hang()), well), True, every_s=LONG_S),
    Scenario(
        "slow first token", "a's first token takes 4 s; b is well", group(slow(TOO_LATE_S), well), True, every_s=LONG_S
    ),
    Scenario("429", "a answers 429 without Retry-After; b is well", group(always(LIMITED), well)),
    Scenario("429, short", "a answers 429 with Retry-After 1 for 1 s; b is well", group(for_s(1.0, LIMITED_1_S), well)),
    Scenario("429, long", "a answers 429 with Retry-After 60; b is well", group(always(LIMITED_60_S), well)),
    Scenario("429 of all, no hint", "both answer 429 without Retry-After for 1 s", group(*[for_s(1.0, LIMITED)] * 2)),
    Scenario("429 of all, short", "both answer 429 with Retry-After 1 for 1 s", group(*[for_s(1.0, LIMITED_1_S)] * 2)),
    Scenario("429 of all, long", "both answer 429 with Retry-After 60", group(*[always(LIMITED_60_S)] * 2)),
    Scenario(
        "cut before output", "a's streams are reset before a word; b is well", group(always(CUT_BEFORE), well), True
    ),
    Scenario(
        "cut after output", "a's streams are reset after 4 words; b is well", group(always(CUT_AFTER), well), True
    ),
    Scenario(
        "stall", "a's streams fall silent after 4 words; b is well", group(always(STALL), well), True, every_s=LONG_S
    ),
    Scenario(
        "ends early", "a's streams end after 4 words, unfinished; b is well", group(always(ENDS_EARLY), well), True
    ),
    Scenario("garbage: HTML", "a answers 200 with HTML; b is well", group(always(HTML), well)),
    Scenario("garbage: JSON", "a answers 200 with half of a JSON text; b is well", group(always(BROKEN), well)),
    Scenario(
        "20 % flaky",
        "a and b answer one call in five with 500",
        group(now_and_then(0.2, error(500), 1), now_and_then(0.2, error(500), 2)),
        requests=80,
        every_s=0.03,
    ),
    Scenario("a 500 now and then", "one deployment; one call in seven gets a 500", group(every(7, error(500)))),
    Scenario("401", "a refuses its key; b is well", group(always(error(401, "invalid_api_key")), well)),
    Scenario("brown-out", "a takes 0.8 s instead of 20 ms; b is well", group(slow(0.8), well), requests=60),
)
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}

# ------------------------------------------------------------------ the servers, in a process of their own

_RUNNING: list[tuple[ExitStack, dict[str, ScriptedServer]]] = []


def open_servers(name: str) -> dict[str, str]:
    """Start a fresh server for each deployment of the scenario; return their origins."""
    stack = ExitStack()
    behaviours = {key: fresh() for members in BY_NAME[name].groups for key, fresh in members.items()}
    servers = {key: stack.enter_context(ScriptedServer.in_thread(one)) for key, one in behaviours.items()}
    _RUNNING.append((stack, servers))
    return {key: server.url for key, server in servers.items()}


def close_servers() -> dict[str, int]:
    """Stop the servers that were started last; return the calls that each has received."""
    stack, servers = _RUNNING.pop()
    calls = {key: len(server.requests) for key, server in servers.items()}
    stack.close()
    return calls
