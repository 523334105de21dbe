"""Options that several commands share, and how prompts and ``.env`` files are read."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import click

NOT_PARAMS = {
    "prompt": "the argument PROMPT",
    "model": "--model",
    "complexity": "--complexity",
    "deadline_s": "--deadline",
    "stream": "--stream",
}
"""Arguments of a call that are no parameters of a model, and how to give them."""

Command = TypeVar("Command", bound=Callable[..., Any])


def routing_options(command: Command) -> Command:
    """Add what every command that routes takes: the prompt, ``--config``, ``--model``, ``--json`` and their like."""
    for option in reversed(
        (
            click.argument("prompt", callback=_prompt),
            click.option(
                "--env-file",
                type=click.Path(exists=True, dir_okay=False, path_type=Path),
                is_eager=True,
                expose_value=False,
                callback=_load_env_file,
                help="Read variables, keys say, from this file; those set already win.",
            ),
            click.option(
                "--config",
                envvar="ASYNCROUTER_CONFIG",
                metavar="FILE",
                help="Configuration (.toml, .yaml, .json); by default asyncrouter.toml, else the embedded one.",
            ),
            click.option("--model", help="Group, deployment, provider/model or a known model's name."),
            click.option("--agent", help="Use this agent's profile."),
            click.option("--complexity", type=float, callback=_complexity, help="0 to 1, instead of the estimate."),
            click.option(
                "--param",
                "-p",
                "params",
                multiple=True,
                metavar="NAME=VALUE",
                callback=_params,
                help="Passed to the model: -p max_tokens=50 -p temperature=0; JSON where it parses, else text.",
            ),
            click.option("--json", "as_json", is_flag=True, help="Print one JSON document."),
        )
    ):
        command = option(command)
    return command


def _prompt(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    if value == "-":
        if sys.stdin is None:
            raise click.BadParameter("standard input is closed; pass the text itself")
        try:
            value = sys.stdin.buffer.read().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise click.BadParameter(f"standard input is not UTF-8 text (byte {error.start})") from error
    if not value.strip():
        raise click.BadParameter("is empty; pass some text, or - to read standard input")
    return value


def _complexity(_context: click.Context, _parameter: click.Parameter, value: float | None) -> float | None:
    if value is not None and (math.isnan(value) or not 0.0 <= value <= 1.0):
        raise click.BadParameter(f"expected a number from 0 to 1, not {value}")
    return value


def _params(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, Any]:
    params = {}
    for value in values:
        name, equals, text = value.partition("=")
        if not equals or not name.isidentifier():
            raise click.BadParameter("expected NAME=VALUE, for example max_tokens=50")
        if name in NOT_PARAMS:
            raise click.BadParameter(f"{name} is no parameter of a model; use {NOT_PARAMS[name]}")
        try:
            params[name] = json.loads(text)
        except ValueError:
            params[name] = text
    return params


def _load_env_file(_context: click.Context, _parameter: click.Parameter, path: Path | None) -> None:
    if path is None:
        return
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"{path}: cannot be read as UTF-8 text") from error
    for name, value in _variables(text, path):
        os.environ.setdefault(name, value)


def _variables(text: str, path: Path) -> Iterator[tuple[str, str]]:
    """Yield the variables of a ``.env`` file: ``NAME=value`` a line, quotes and ``export`` allowed, # for comments.

    What a line holds is never shown: it may be a key.
    """
    for number, line in enumerate(text.splitlines(), start=1):
        content = line.strip().removeprefix("export ").strip()
        if not content or content.startswith("#"):
            continue
        name, equals, value = content.partition("=")
        name, value = name.strip(), value.strip()
        if not equals or not name.isidentifier():
            raise click.BadParameter(f"{path}, line {number}: expected NAME=value")
        if value[:1] in {'"', "'"}:
            inner, closing, rest = value[1:].partition(value[0])
            if not closing or (rest.strip() and not rest.strip().startswith("#")):
                raise click.BadParameter(f"{path}, line {number}: the quote is not closed")
            value = inner
        else:
            value = value.partition(" #")[0].rstrip()
        yield name, value
