"""Turns within a rate: first come first served, whatever happens to those in line."""

from __future__ import annotations

import anyio
import pytest
from routed import routed

from asyncrouter import DeadlineExceeded, NoDeploymentAvailable, Usage
from asyncrouter.testing import Fail, Reply, Slow
from asyncrouter.types.errors import AllAttemptsFailed, ServerError

ALONE = {"chat": {"deployments": ["a"], "retry": "none", "deadline_s": 1000.0}}
A_SECOND = {"limits": {"rpm": 60}}
BOTH = pytest.mark.parametrize("streamed", [False, True])


async def exhausted(r, **arguments):
    """Use up what a full bucket of a minute holds."""
    for _ in range(60):
        await r.ask(**arguments)


async def arriving(r, count, every_s, *, streamed=False, **arguments):
    """Let *count* calls arrive one after the other; return their numbers in the order in which they were served."""
    served = []

    async def call(number):
        await anyio.sleep(number * every_s)
        await (r.read(**arguments) if streamed else r.ask(**arguments))
        served.append(number)

    async with anyio.create_task_group() as tasks:
        for number in range(count):
            tasks.start_soon(call, number)
    return served


@BOTH
async def test_turns_are_had_in_the_order_of_arrival(streamed):
    async with routed(groups=ALONE, deployments={"a": A_SECOND}) as r:
        await exhausted(r)
        assert await arriving(r, 50, 0.37, streamed=streamed) == list(range(50))
        assert [round(moment) for _, moment in r.timeline[60:]] == list(range(1, 51))
        assert {end.trace.waits for end in r.recorder.finished} == {0}
        assert r.recorder.finished[-1].trace.waited_s == pytest.approx(50 - 49 * 0.37)


async def test_who_leaves_holds_nobody_up():
    async with routed(groups=ALONE, deployments={"a": A_SECOND}) as r:
        await exhausted(r)
        served = []

        async def call(number, patience_s):
            with anyio.move_on_after(patience_s):
                await r.ask()
                served.append((number, round(anyio.current_time())))

        async with anyio.create_task_group() as tasks:
            for number, patience_s in enumerate([0.5, 9.0, 0.5, 2.5, 9.0, 9.0]):
                tasks.start_soon(call, number, patience_s)
                await anyio.sleep(0.01)
        assert served == [(1, 1), (3, 2), (4, 3), (5, 4)]
        assert r.router.metrics().deployments["a"].waiting == 0


async def test_tokens_given_back_call_the_first_in_line():
    used = Usage(input_tokens=40, output_tokens=10)
    script = [Slow(5, then=Fail(ServerError)), Reply(usage=used)]
    async with routed(script, groups=ALONE, deployments={"a": {"limits": {"tpm": 60}}}) as r:

        async def first():
            await r.fails(AllAttemptsFailed, "word " * 80)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(first)
            await anyio.sleep(0.1)
            tasks.start_soon(r.ask)
        assert r.timeline == [("a", 0.0), ("a", 5.0)]


async def test_two_deployments_over_their_rate_share_the_line():
    async with routed(deployments={"a": A_SECOND, "b": A_SECOND}, deadline_s=1000.0) as r:
        await exhausted(r, model="a")
        await exhausted(r, model="b")
        await arriving(r, 40, 0.0)
        later = r.timeline[120:]
        assert max(moment for _, moment in later) == pytest.approx(20.0, abs=1.0)
        assert sum(name == "a" for name, _ in later) == 20


async def test_another_deployment_that_is_ready_again_takes_all_who_wait():
    async with routed(deployments={"a": A_SECOND}) as r:
        await exhausted(r)
        r.state("b").cool_until(5.5)
        await arriving(r, 10, 0.01)
        assert [name for name, _ in r.timeline[60:]] == ["a"] * 5 + ["b"] * 5


@BOTH
async def test_the_deadline_ends_the_wait(streamed):
    async with routed(groups=ALONE, deployments={"a": A_SECOND}) as r:
        await exhausted(r)
        late = []

        async def call():
            try:
                await (r.read(deadline_s=3.5) if streamed else r.ask(deadline_s=3.5))
            except DeadlineExceeded:
                late.append(anyio.current_time())

        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(call)
        assert len(r.provider.calls) == 63
        assert late == [3.5] * 7


async def test_a_turn_that_cannot_come_in_time_is_told_at_once():
    async with routed(groups=ALONE, deployments={"a": {"limits": {"rpm": 1}}}) as r:
        await r.ask()
        error = await r.fails(NoDeploymentAvailable, deadline_s=30.0)
        assert anyio.current_time() == 0.0
        assert error.retry_after_s == 60.0


async def test_a_full_line_is_told_at_once():
    async with routed(groups=ALONE, deployments={"a": {"limits": {"rpm": 60, "queue": 2}}}) as r:
        await exhausted(r)
        ends = []

        async def call():
            try:
                await r.ask()
                ends.append("ok")
            except NoDeploymentAvailable as error:
                ends.append(error.trace.notes[-1])

        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(call)
        assert ends == ["a: its line of 2 was full"] * 2 + ["ok"] * 2


async def test_metrics_tell_who_waits_for_his_turn():
    async with routed(groups=ALONE, deployments={"a": A_SECOND}) as r:
        await exhausted(r)
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(r.ask)
            await anyio.sleep(0.5)
            assert r.router.metrics().deployments["a"].waiting == 3
            await anyio.sleep(1.0)
            assert r.router.metrics().deployments["a"].waiting == 2


async def test_another_configuration_lets_all_who_wait_go_on():
    async with routed(groups=ALONE, deployments={"a": {"limits": {"rpm": 1}}}) as r:
        await r.ask()

        async def lift():
            await anyio.sleep(5.0)
            await r.router.reconfigure(
                {
                    "providers": {"fake": r.provider},
                    "deployments": {"a": {"provider": "fake", "model": "model-a"}},
                    "groups": ALONE,
                }
            )

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lift)
            for _ in range(5):
                tasks.start_soon(r.ask)
        assert anyio.current_time() == 5.0
