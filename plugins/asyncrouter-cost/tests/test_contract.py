"""The plugin keeps every contract that concerns it, with and without budgets."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from asyncrouter_cost import cost, estimator, trainer

from asyncrouter.hooks.registry import Registry
from asyncrouter.testing import EstimatorContract, PluginContract, SelectorContract, fake_router
from asyncrouter.types.errors import ConfigError


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model learned from twenty prompts."""
    prompts, rng = tuple(f"What is {n} times {n}?" for n in range(20)), np.random.default_rng(0)
    outcomes = SimpleNamespace(
        prompts=prompts, models=("d0", "d1"), scores=rng.random((20, 2)), lengths=None, costs=None
    )
    file = tmp_path_factory.mktemp("model") / "m.model"
    file.write_bytes(trainer().train(outcomes, seed=0, progress=lambda _share: None))
    return str(file)


@pytest.fixture(autouse=True)
def the_models_file(model, request):
    if request.cls in {TestPlugin, TestEstimator}:
        request.cls.options = {("estimator", "cost"): {"model": model}}
        request.cls.model = model


class TestPlugin(PluginContract):
    distribution = "asyncrouter-cost"


class TestEstimator(EstimatorContract):
    def make(self):
        return estimator(model=self.model)


class TestSelector(SelectorContract):
    def make(self):
        return cost()


class TestWithinBudgets(SelectorContract):
    def make(self):
        budgets = [{"usd": 1000.0, "per": "month"}, {"usd": 900.0, "per": "hour", "by": "agent"}]
        return cost(budgets=budgets)

    def _situations(self):
        """Without prices it raises BudgetExceeded, which test_budgets.py looks at."""
        return [one for one in super()._situations() if one[0] != "unknown prices and windows"]


@pytest.mark.parametrize(
    ("select", "reason"),
    [
        ("cost", "expected cost"),
        ({"use": "cost", "output_tokens": 9}, "expected cost"),
        ({"use": "cost", "usd_per_quality": 1}, "quality"),
        ({"use": "cost", "budgets": [{"usd": 1, "per": "day"}]}, "quality"),
    ],
)
async def test_options_tell_whether_it_or_the_built_in_one_is_meant(select, reason):
    async with fake_router(deployments={"a": {"price": {"input": 1, "output": 1}}}, select=select) as router:
        reply = await router.generate("hi")
    assert reply.trace.selection.reason.startswith(reason)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"usd_per_quality": 0}, r"g\.usd_per_quality: expected a positive number, not 0"),
        ({"usd_per_quality": True}, r"g\.usd_per_quality: expected a positive number, not the boolean true"),
        ({"usd_per_qualty": 1}, r'g\.usd_per_qualty: unknown key; did you mean "usd_per_quality"'),
        ({"qualities": {"a": 1.5}}, r"g\.qualities\.a: expected a number from 0 to 1, not 1\.5"),
        ({"qualities": [1]}, r"g\.qualities: expected a table of deployment names"),
        ({"difficulty": -1}, r"g\.difficulty: expected a number of 0 or more, not -1"),
        ({"difficulty": 1, "output_tokens": 0.5}, r"g\.output_tokens: expected a whole number of 1 or more, not 0\.5"),
        ({"on_exceeded": "cry"}, r"g\.on_exceeded: expected raise or downgrade, not the string 'cry'"),
        ({"budgets": {"usd": 1}}, r"g\.budgets: expected a list of tables like"),
        ({"budgets": ["much"]}, r"g\.budgets\[0\]: expected a table like .*, not the string 'much'"),
        ({"budgets": [{"usd": 1, "per": "year"}]}, r"\[0\]\.per: expected hour, day or month, not the string 'y"),
        ({"budgets": [{"usd": -1, "per": "day"}]}, r"g\.budgets\[0\]\.usd: expected a positive number, not -1"),
        ({"budgets": [{"usd": 1, "per": "day", "for": 1}]}, r"g\.budgets\[0\]\.for: unknown key; known: usd, per"),
        ({"budgets": [{"usd": 1, "per": "day", "by": "tag"}]}, r'g\.budgets\[0\]\.by: expected "agent" or "metadata'),
        ({"budgets": [{"usd": 1, "per": "day", "only": "a"}]}, r"g\.budgets\[0\]\.only: .*add by"),
    ],
)  # fmt: skip
def test_wrong_options_are_told(options, message):
    with pytest.raises(ConfigError, match=message):
        Registry().make("selector", "cost", options, "g")


def test_every_fault_is_told_at_once():
    with pytest.raises(ConfigError) as caught:
        Registry().make("selector", "cost", {"difficulty": -1, "budgets": [{}]}, "g")
    assert [fault.path for fault in caught.value.faults] == ["g.difficulty", "g.budgets[0].usd", "g.budgets[0].per"]
