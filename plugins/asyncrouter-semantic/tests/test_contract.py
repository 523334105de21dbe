"""The plugin keeps the contracts of plugins and of estimators."""

from __future__ import annotations

from typing import ClassVar

from asyncrouter_semantic.estimator import SemanticEstimator

from asyncrouter.testing import EstimatorContract, PluginContract


class TestPlugin(PluginContract):
    distribution = "asyncrouter-semantic"
    options: ClassVar = {}


class TestEstimator(EstimatorContract):
    def make(self):
        return SemanticEstimator()
