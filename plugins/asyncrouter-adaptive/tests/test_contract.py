"""The plugin keeps the contracts of plugins and of selectors."""

from __future__ import annotations

from asyncrouter_adaptive import AdaptiveSelector

from asyncrouter.testing import PluginContract, SelectorContract


class TestPlugin(PluginContract):
    distribution = "asyncrouter-adaptive"


class TestSelector(SelectorContract):
    def make(self):
        return AdaptiveSelector(epsilon=0.2, regret=1)
