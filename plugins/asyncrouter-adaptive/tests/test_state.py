"""What was learned outlives the process; a damaged file is told; groups and agents share it or not."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from asyncrouter_adaptive import AdaptiveSelector
from asyncrouter_adaptive.sharing import AdaptiveFactory
from asyncrouter_adaptive.store import MOST_LEARNERS

from asyncrouter import ConfigError, Router
from asyncrouter.hooks.registry import Registry
from asyncrouter.testing import FakeProvider, Reply, fake_router, run_virtual


def learner(selector, agent=""):
    return selector.store.learner(agent)


async def calls(selector, count=30, **arguments):
    script = {"a": Reply("good"), "b": Reply("bad", finish_reason="length")}
    async with fake_router(script, deployments=["a", "b"], select=selector) as router:
        for _ in range(count):
            reply = await router.generate("hello", **arguments)
            await router.feedback(reply, 1.0 if reply.deployment == "a" else 0.0)


def test_it_goes_on_where_it_ended(tmp_path):
    file = str(tmp_path / "learned.json")
    first = AdaptiveSelector(state=file)
    run_virtual(calls, first)
    assert json.loads((tmp_path / "learned.json").read_text())["version"] == 4
    second = AdaptiveSelector(state=file)
    run_virtual(calls, second, 0)
    one, other = learner(first), learner(second)
    assert other.model.outcomes == one.model.outcomes == 30
    assert other.dump() == one.dump()
    assert [path.name for path in tmp_path.iterdir()] == ["learned.json"]


def test_it_is_written_now_and_then_by_a_thread(tmp_path):
    selector = AdaptiveSelector(state=str(tmp_path / "learned.json"), save_s=1)
    object.__setattr__(selector.store, "_save_s", 0.001)
    selector.store.learner("")
    selector.store.open()
    for _ in range(10_000):
        if (tmp_path / "learned.json").exists():
            break
        selector.store._writer.join(0.001)
    assert json.loads((tmp_path / "learned.json").read_text())["learners"].keys() == {""}
    selector.store.close()
    assert selector.store._writer is None


def test_what_cannot_be_written_is_told(tmp_path):
    store = AdaptiveSelector(state=str(tmp_path / "gone" / "learned.json")).store
    ends = iter([False, True])
    store._ended = SimpleNamespace(wait=lambda _seconds: next(ends))
    with pytest.warns(UserWarning, match=r"learned\.json: what was learned is not kept: No such file"):
        store._write_now_and_then(store._path)


def test_at_the_end_what_cannot_be_written_is_an_error(tmp_path):
    store = AdaptiveSelector(state=str(tmp_path / "gone" / "learned.json")).store
    store.open()
    with pytest.raises(FileNotFoundError):
        store.close()


DAMAGED = {
    "no JSON": "{",
    "no text": b"\xff\xfe",
    "a list": "[]",
    "another format": '{"format": "x", "version": 1}',
    "deep": "[" * 100_000,
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_is_told(tmp_path, content):
    file = tmp_path / "learned.json"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError, match=r'learned\.json .*on_corrupt = "fresh"'):
        run_virtual(calls, AdaptiveSelector(state=str(file)))
    with pytest.warns(UserWarning, match=r"learned\.json .*begins anew, the file is kept as learned\.json\.corrupt"):
        run_virtual(calls, AdaptiveSelector(state=str(file), on_corrupt="fresh"))
    assert json.loads(file.read_text())["format"] == "asyncrouter-adaptive"


def damage(content, what):
    state = content["learners"][""]
    if what == "a number that is none":
        state["model"]["sums"]["data"] = "AAAAAAAA+H8="
    elif what == "a count that is none":
        state["model"]["pulls"][0] = float("nan")
    elif what == "a count too few":
        state["model"]["rewards"].pop()
    elif what == "an array too short":
        state["model"]["sums"]["shape"][0] += 1
    elif what == "a part that is missing":
        del state["guard"]
    elif what == "another version":
        content["version"] = 3


@pytest.mark.parametrize(
    "what",
    [
        "a number that is none",
        "a count that is none",
        "a count too few",
        "an array too short",
        "a part that is missing",
        "another version",
    ],
)
def test_damage_inside_is_found(tmp_path, what):
    file = tmp_path / "learned.json"
    run_virtual(calls, AdaptiveSelector(state=str(file)), 3)
    content = json.loads(file.read_text())
    damage(content, what)
    file.write_text(json.dumps(content))
    told = "is of version 3, and this is 4" if what == "another version" else "is damaged"
    with pytest.raises(ConfigError, match=told):
        run_virtual(calls, AdaptiveSelector(state=str(file)))


def test_a_file_of_other_options_is_not_taken_for_its_own(tmp_path):
    file = str(tmp_path / "learned.json")
    run_virtual(calls, AdaptiveSelector(state=file), 3)
    with pytest.raises(ConfigError, match="was learned with other options"):
        run_virtual(calls, AdaptiveSelector(state=file, price_weight=3.0))


def router_of(**groups):
    return Router.from_config({
        "router": {"default": next(iter(groups))},
        "providers": {"fake": FakeProvider()},
        "deployments": {name: {"provider": "fake", "model": name} for name in "ab"},
        "groups": {name: {"deployments": ["a", "b"], "select": select} for name, select in groups.items()},
        "agents": {"recon": {"group": next(iter(groups))}},
    })  # fmt: skip


def stores(router):
    return [one.instance.store for one in router._assembler.instances() if isinstance(one.instance, AdaptiveSelector)]


def test_groups_learn_alone_unless_they_share():
    alone = stores(router_of(x={"use": "adaptive"}, y={"use": "adaptive"}))
    assert alone[0] is not alone[1]
    pooled = {"use": "adaptive", "share": "pool"}
    together = stores(router_of(x=pooled, y=pooled))
    assert together[0] is together[1]
    assert stores(router_of(x=pooled))[0] is not together[0]  # another router's
    with pytest.raises(ConfigError, match=r"groups\.y\.select\.share: another group shares 'pool' with other options"):
        router_of(x=pooled, y={**pooled, "epsilon": 0.5})


def test_agents_learn_alone_where_that_is_chosen():
    async def ask(selector):
        async with router_of(x=selector) as router:
            await router.for_agent("recon").generate("hi")
            await router.generate("hi")

    for per_agent, agents in ((True, {"recon", ""}), (False, {""})):
        selector = AdaptiveSelector(per_agent=per_agent)
        run_virtual(ask, selector)
        assert selector.store._learners.keys() == agents


def test_agents_beyond_the_most_learn_together():
    selector = AdaptiveSelector(per_agent=True)
    own = [learner(selector, f"agent {number}") for number in range(MOST_LEARNERS)]
    assert len(set(map(id, own))) == MOST_LEARNERS
    assert learner(selector, "late") is learner(selector, "later")
    assert learner(selector, "late") not in own
    assert learner(selector, "agent 0") is own[0]


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"epsilon": 2}, "epsilon: expected a number from 0 to 1, not 2"),
        ({"window": 10}, "window: expected a number of 100 or more, not 10"),
        ({"pending": 0}, "pending: expected a whole number from 1 to"),
        ({"per_agent": "yes"}, "per_agent: expected true or false"),
        ({"share": ""}, "share: is empty"),
        ({"on_corrupt": "ignore"}, "on_corrupt: expected raise or fresh"),
        ({"explor": 1}, 'explor: unknown key; did you mean "explore"'),
    ],
)
def test_wrong_options_are_told(options, fault):
    with pytest.raises(ConfigError, match=fault):
        Registry().make("selector", "adaptive", options, "groups.chat.select")


def test_the_factory_names_its_options():
    assert "price_weight" in AdaptiveFactory().__signature__.parameters
