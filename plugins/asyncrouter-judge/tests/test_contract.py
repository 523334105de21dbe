"""The plugin keeps the contracts of plugins and of judges."""

from __future__ import annotations

from typing import ClassVar

import anyio
from asyncrouter_judge import ChecksJudge, ModelJudge, SamplesJudge

from asyncrouter import Response
from asyncrouter.testing import JudgeContract, PluginContract, Reply
from asyncrouter.testing.wire import completion


class Door:
    """In place of a router, which lives in one event loop: it answers every question alike, after a moment."""

    def __init__(self, text):
        self.text = text

    async def generate(self, messages, *, model, deadline_s, metadata, **params):
        await anyio.sleep(0.005)
        return Response(raw=completion(Reply(self.text), model), deployment=model, model=model)


def entered(judge, text):
    judge._asker._router = Door(text)
    return judge


class TestPlugin(PluginContract):
    distribution = "asyncrouter-judge"
    heavy: ClassVar = PluginContract.heavy | {"jsonschema", "referencing", "asyncrouter.router"}
    options: ClassVar = {("judge", "judge_model"): {"model": "strong"}}


class TestChecks(JudgeContract):
    def make(self):
        return ChecksJudge()


class TestModel(JudgeContract):
    def make(self):
        return entered(ModelJudge(model="strong"), '{"score": 4}')


class TestSamples(JudgeContract):
    def make(self):
        return entered(SamplesJudge(), "another answer")
