"""The plugin keeps the contracts of plugins and of judges."""

from __future__ import annotations

from typing import ClassVar

from asyncrouter_judge import ChecksJudge

from asyncrouter.testing import JudgeContract, PluginContract


class TestPlugin(PluginContract):
    distribution = "asyncrouter-judge"
    heavy: ClassVar = PluginContract.heavy | {"jsonschema", "referencing"}


class TestChecks(JudgeContract):
    def make(self):
        return ChecksJudge()
