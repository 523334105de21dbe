"""The prompts of the demonstration, read from ``prompts.toml``."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import attrs

from asyncrouter.types.request import EMPTY, Message, messages_of, text_of


@attrs.frozen(kw_only=True)
class Task:
    """One prompt and how to ask it.

    ``number`` counts from 1; ``reserved``: not sent before the stopped server runs again; ``params`` go to the
    provider.
    """

    number: int
    messages: tuple[Message, ...]
    stream: bool = False
    params: Mapping[str, Any] = EMPTY
    reserved: bool = False

    @property
    def text(self) -> str:
        """The last message's text."""
        return text_of(self.messages[-1])

    @property
    def way(self) -> str:
        """How it is asked: "stream", "tools", both, or "plain"."""
        ways = ["stream"] * self.stream + ["tools"] * ("tools" in self.params)
        return ", ".join(ways) or "plain"


def load_tasks() -> tuple[Task, ...]:
    """Return the packaged prompts in the order in which they are sent."""
    tables = tomllib.loads(files(__package__).joinpath("prompts.toml").read_text(encoding="utf-8"))
    parts = [(entry, part == "recovery") for part in ("main", "recovery") for entry in tables[part]]
    return tuple(
        Task(
            number=number,
            messages=tuple(messages_of(entry.get("prompt") or entry["messages"])),
            stream=entry.get("stream", False),
            params=entry.get("params", EMPTY),
            reserved=reserved,
        )
        for number, (entry, reserved) in enumerate(parts, start=1)
    )
