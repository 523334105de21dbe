"""The log: one line a request, and nothing secret in it."""

from __future__ import annotations

import json
import subprocess
import sys

import anyio
import pytest
import structlog
from structlog.testing import CapturingLogger, capture_logs

from asyncrouter import ConfigError, ModelManager, Router, ServerError, hookimpl
from asyncrouter.telemetry.builtin import log
from asyncrouter.telemetry.log import LogObserver
from asyncrouter.testing import Fail, FakeProvider, Hang, Reply, virtual_backend
from asyncrouter.types.errors import AuthenticationFailed, PluginContractError, RateLimited
from asyncrouter.types.events import AttemptFinished, BreakerChanged, FeedbackGiven, PluginFailed
from asyncrouter.types.response import Response

PROMPT = "PROMPT-SENTINEL tell nobody"
KEY = "sk-KEY-SENTINEL-0123456789"
ANSWER = "ANSWER-SENTINEL for one pair of eyes"


@pytest.fixture(autouse=True)
def unconfigured():
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()


class Lines:
    """A structlog logger of one's own: keeps ``(level, event, fields)`` of every line."""

    def __init__(self):
        self.captured = CapturingLogger()
        self.logger = structlog.wrap_logger(self.captured, processors=[lambda _logger, _level, fields: ((), fields)])

    @property
    def seen(self):
        return [(call.method_name, call.kwargs["event"], without(call.kwargs, "event")) for call in self.captured.calls]

    @property
    def requests(self):
        return [(level, fields) for level, event, fields in self.seen if event == "request"]


def without(fields, *names):
    return {name: value for name, value in fields.items() if name not in names}


@pytest.fixture
def lines():
    return Lines()


def router_of(script, *, plugins=("log",), also=(), agents=None, **chat):
    provider = script if isinstance(script, FakeProvider) else FakeProvider(script)
    config = {
        "router": {"default": "chat", "plugins": list(plugins)},
        "providers": {"fake": provider},
        "deployments": {name: {"provider": "fake", "model": f"model-{name}"} for name in "ab"},
        "groups": {"chat": {"deployments": ["a", "b"], "retry": "none", **chat}},
        "agents": agents or {},
    }
    return Router.from_config(config, plugins=also, seed=0)


def logging(lines, **options):
    return {"use": "log", "logger": lines.logger, **options}


# Off and on


def test_by_default_nothing_is_logged_and_structlog_is_not_loaded():
    program = (
        "import logging, sys\n"
        "logging.basicConfig(level=0, handlers=[logging.StreamHandler(sys.stdout)])\n"
        "from asyncrouter import ModelManager, AllAttemptsFailed\n"
        "from asyncrouter.testing import Fail, FakeProvider, Reply\n"
        "from asyncrouter.types.errors import AuthenticationFailed\n"
        "upstream = FakeProvider([Reply(), Fail(AuthenticationFailed)])\n"
        "with ModelManager('gpt-4', 'gpt-3.5-turbo', config={'providers': {'openai': upstream}}) as manager:\n"
        "    manager.generate('hi')\n"
        "    try:\n"
        "        manager.generate('hi')\n"
        "    except AllAttemptsFailed:\n"
        "        pass\n"
        "assert len(upstream.calls) == 3\n"
        "assert 'structlog' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line for line in done.stdout.splitlines() if "asyncio" not in line and "selector" not in line] == []


async def test_switched_on_it_writes_to_standard_error_only(capsys):
    async with router_of(Reply(ANSWER)) as router:
        await router.generate(PROMPT)
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert "request" in line
    assert "deployment" in line
    assert "SENTINEL" not in line


async def test_it_goes_through_the_structlog_that_the_application_configured(capsys):
    structlog.configure(
        processors=[structlog.processors.add_log_level, structlog.processors.JSONRenderer()],
        logger_factory=structlog.PrintLoggerFactory(sys.stdout),
    )
    async with router_of(Reply()) as router:
        reply = await router.generate(PROMPT)
    out, err = capsys.readouterr()
    assert err == ""
    line = json.loads(out)
    assert (line["event"], line["level"], line["request"]) == ("request", "info", reply.trace.request_id)


async def test_structlogs_own_capture_sees_it():
    with capture_logs() as captured:
        async with router_of(Reply()) as router:
            await router.generate(PROMPT)
    assert [(line["event"], line["log_level"]) for line in captured] == [("request", "info")]


def test_the_facade_can_log_too(lines):
    config = {"providers": {"openai": FakeProvider()}, "router": {"plugins": [logging(lines)]}}
    with ModelManager("gpt-4", "gpt-3.5-turbo", config=config) as manager:
        manager.generate(PROMPT, complexity=0.9)
    ((_level, fields),) = lines.requests
    assert (fields["deployment"], fields["complexity"]) == ("gpt-3.5-turbo", 0.9)


# The line of a request


async def test_one_line_a_request_with_what_happened(lines):
    agents = {"recon": {"group": "chat"}}
    script = {"a": Fail(ServerError), "b": Reply(ANSWER)}
    async with router_of(script, plugins=[logging(lines)], agents=agents) as router:
        reply = await router.for_agent("recon").generate(PROMPT, complexity=0.12345)
    assert [event for _level, event, _fields in lines.seen] == ["request"]
    ((level, fields),) = lines.requests
    assert level == "info"
    assert fields == {
        "request": reply.trace.request_id,
        "agent": "recon",
        "group": "chat",
        "complexity": 0.123,
        "deployment": "b",
        "model": "model-b",
        "attempts": ["a failed", "b ok"],
        "waits": 0,
        "duration_s": round(reply.trace.duration_s, 6),
        "input_tokens": 10,
        "output_tokens": 5,
        "cost_usd": None,
    }


async def test_the_price_and_the_waits_are_told(lines):
    provider = FakeProvider([Fail(ServerError), Reply()])
    config = {
        "router": {"plugins": [logging(lines)]},
        "providers": {"fake": provider},
        "deployments": {"a": {"provider": "fake", "model": "m", "price": {"input": 1, "output": 2}}},
        "groups": {"chat": {"deployments": ["a"], "retry": {"use": "exponential", "initial_delay_s": 0.0}}},
    }
    async with Router.from_config(config) as router:
        reply = await router.generate(PROMPT)
    ((_level, fields),) = lines.requests
    assert fields["cost_usd"] == reply.cost_usd == pytest.approx(20e-6)
    assert fields["waits"] == reply.trace.waits
    assert fields["attempts"] == ["a failed", "a ok"]


async def test_cost_is_told_beside_what_the_strongest_and_the_weakest_would_have_cost(lines):
    config = {
        "router": {"plugins": [logging(lines)]},
        "providers": {"fake": FakeProvider()},
        "deployments": {
            name: {"provider": "fake", "model": name, "price": {"input": price, "output": price}}
            for name, price in (("a", 1), ("b", 5), ("c", 20))
        },
        "groups": {"chat": {"deployments": ["a", "b", "c"], "select": {"use": "complexity", "cuts": [0.3, 0.6]}}},
    }
    async with Router.from_config(config) as router:
        await router.generate(PROMPT, complexity=0.5)
    ((_level, fields),) = lines.requests
    told = [fields[name] for name in ("weak_usd", "cost_usd", "strong_usd")]
    assert told == pytest.approx([15e-6, 75e-6, 300e-6])


async def test_a_stream_is_one_line_too(lines):
    async with router_of(Reply(ANSWER), plugins=[logging(lines)]) as router, router.stream(PROMPT) as stream:
        assert [chunk async for chunk in stream]
    ((level, fields),) = lines.requests
    assert (level, fields["attempts"], fields["output_tokens"]) == ("info", ["a ok"], 5)
    assert "SENTINEL" not in repr(lines.seen)


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
async def test_the_level_is_that_of_answered_requests(lines, level):
    script = FakeProvider(Reply())
    async with router_of(script, plugins=[logging(lines, level=level)]) as router:
        await router.generate(PROMPT)
        script.play(Fail(AuthenticationFailed))
        with pytest.raises(Exception, match="all 2 attempts failed"):
            await router.generate(PROMPT)
    assert [one for one, _fields in lines.requests] == [level, "error"]


async def test_a_level_that_is_filtered_out_says_nothing(lines):
    filtered = structlog.wrap_logger(
        lines.captured,
        processors=[lambda _logger, _level, fields: ((), fields)],
        wrapper_class=structlog.make_filtering_bound_logger("warning"),
    )
    async with router_of(Reply(), plugins=[{"use": "log", "level": "debug", "logger": filtered}]) as router:
        await router.generate(PROMPT)
    assert lines.seen == []


async def test_a_failed_request_is_an_error_with_its_class_only(lines):
    message = f"cannot answer {PROMPT!r} for {KEY}"
    async with router_of(Fail(RateLimited, message=message), plugins=[logging(lines)]) as router:
        with pytest.raises(Exception, match="attempts failed"):
            await router.generate(PROMPT, complexity=0.5)
    ((level, fields),) = lines.requests
    assert level == "error"
    assert without(fields, "request", "duration_s") == {
        "error": "AllAttemptsFailed",
        "agent": None,
        "group": "chat",
        "complexity": 0.5,
        "attempts": ["a failed", "b failed"],
        "waits": 0,
    }


@pytest.mark.parametrize("anyio_backend", [virtual_backend], ids=["virtual"])
async def test_a_cancelled_request_is_told_as_such(lines):
    async with router_of(Hang(), plugins=[logging(lines, level="debug")]) as router:
        with anyio.move_on_after(1):
            await router.generate(PROMPT)
    ((level, fields),) = lines.requests
    assert (level, fields["cancelled"], fields["attempts"]) == ("debug", True, ["a cancelled"])
    assert not {"error", "deployment"} & set(fields)


# Breakers, plugins


async def test_breakers_are_warned_of(lines):
    script = {"a": Fail(ServerError), "b": Reply()}
    breaker = {"failures": 1, "open_s": 60.0, "open_cap_s": 60.0}
    async with router_of(script, plugins=[logging(lines)], breaker=breaker) as router:
        await router.generate(PROMPT)
    assert [line for line in lines.seen if line[1] != "request"] == [
        ("warning", "breaker", {"deployment": "a", "before": "closed", "after": "open"})
    ]


async def test_a_failing_plugin_is_an_error_by_name(lines):
    class Bad:
        name = "bad"

        @hookimpl
        async def asyncrouter_estimate(self, request):
            raise RuntimeError(f"{PROMPT} {KEY}")

    async with router_of(Reply(), plugins=[logging(lines)], also=[Bad()]) as router:
        await router.generate(PROMPT)
    failures = [line for line in lines.seen if line[1] == "plugin"]
    assert failures == [("error", "plugin", {"plugin": "bad", "hook": "asyncrouter_estimate"})]
    assert len(lines.requests) == 1
    assert "SENTINEL" not in repr(lines.seen)


def test_only_ends_breakers_and_plugin_failures_are_worth_a_line(lines):
    observer = LogObserver(logger=lines.logger)
    observer.asyncrouter_observe(AttemptFinished(request=None, attempt=None))
    observer.asyncrouter_observe(FeedbackGiven(Response(raw={}, deployment="a", model="m"), 0.5))
    assert lines.seen == []
    observer.asyncrouter_observe(BreakerChanged("a", "open", "half_open"))
    observer.asyncrouter_observe(PluginFailed(PluginContractError(PROMPT, plugin="p", hook="h")))
    assert lines.seen == [
        ("warning", "breaker", {"deployment": "a", "before": "open", "after": "half_open"}),
        ("error", "plugin", {"plugin": "p", "hook": "h"}),
    ]


async def test_a_logger_that_fails_does_not_fail_the_call():
    def broken(_logger, _level, _fields):
        raise OSError("disk full")

    logger = structlog.wrap_logger(CapturingLogger(), processors=[broken])
    async with router_of(Reply("ok"), plugins=[{"use": "log", "logger": logger}]) as router:
        assert (await router.generate(PROMPT)).text == "ok"
        assert router.metrics().plugin_failures["log"] >= 1


# Options


@pytest.mark.parametrize("level", ["critical", "INFO", "", None, 3])
def test_a_wrong_level_is_refused_with_its_path(level):
    with pytest.raises(ConfigError, match=r"level: expected one of debug, info, warning, error") as caught:
        router_of(Reply(), plugins=[{"use": "log", "level": level}])
    assert [fault.path.startswith("router.plugins[0]") for fault in caught.value.faults] == [True]
    with pytest.raises(ValueError, match="level: expected one of debug, info, warning, error"):
        log(level=level)


def test_an_unknown_option_is_refused_with_its_path():
    with pytest.raises(ConfigError, match=r"router\.plugins\[0\]\.levle"):
        router_of(Reply(), plugins=[{"use": "log", "levle": "debug"}])


# Secrets


@pytest.mark.parametrize("anyio_backend", [virtual_backend], ids=["virtual"])
async def test_neither_prompt_nor_answer_nor_key_is_in_any_line(lines, monkeypatch, capsys):
    monkeypatch.setenv("LOG_TEST_KEY", KEY)
    quoting = f"the prompt {PROMPT!r} with {KEY} is refused"
    failures = [Fail(kind, message=quoting) for kind in (RateLimited, ServerError, AuthenticationFailed)]
    provider = FakeProvider([Reply(ANSWER), *failures, Fail(ValueError(quoting)), Hang()])
    config = {
        "router": {"default": "chat", "plugins": [logging(lines, level="debug")]},
        "providers": {"fake": provider, "openai": {"api_key_env": "LOG_TEST_KEY"}},
        "deployments": {
            "a": {"provider": "fake", "model": "m"},
            "real": {"provider": "openai", "model": "gpt-4o-mini"},
        },
        "groups": {"chat": {"deployments": ["a"], "retry": "none", "breaker": {"failures": 100, "ratio": 1.0}}},
    }
    metadata = {"user": PROMPT}
    async with Router.from_config(config) as router:
        await router.generate(PROMPT, metadata=metadata, user=PROMPT, session=PROMPT)
        for _ in range(4):
            with pytest.raises(Exception, match="attempts failed"):
                await router.generate([{"role": "user", "content": PROMPT}], metadata=metadata, session=PROMPT)
        with anyio.move_on_after(1):
            await router.generate(PROMPT)
    assert [fields["attempts"] for _level, fields in lines.requests] == [
        ["a ok"],
        *[["a failed"]] * 4,
        ["a cancelled"],
    ]
    assert "SENTINEL" not in repr(lines.captured.calls)
    assert capsys.readouterr() == ("", "")
