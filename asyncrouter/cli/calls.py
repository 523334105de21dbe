"""``ask`` and ``explain``: one routed call, and the decision without the call."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Coroutine
from typing import Any, TextIO, TypeVar

import click

from asyncrouter.cli.documents import decision_document, response_document
from asyncrouter.cli.options import routing_options
from asyncrouter.cli.output import Failed, print_document, print_error_document, print_table, print_text
from asyncrouter.routed_stream import RoutedStream
from asyncrouter.router import Router
from asyncrouter.types.decisions import Decision
from asyncrouter.types.errors import AsyncRouterError
from asyncrouter.types.response import Chunk, Response

T = TypeVar("T")


@click.command()
@routing_options
@click.option("--deadline", "deadline_s", type=float, metavar="SECONDS", help="Bound on the whole call.")
@click.option("--stream", is_flag=True, help="Print the answer as it comes.")
def ask(
    *,
    prompt: str,
    config: str | None,
    agent: str | None,
    stream: bool,
    as_json: bool,
    params: dict[str, Any],
    **call: Any,
) -> None:
    """Ask PROMPT ("-" reads standard input) and print the answer."""
    stdout = None if as_json else sys.stdout

    async def answer() -> Response:
        async with Router.from_config(config) as router:
            door = router.for_agent(agent) if agent else router
            if stream:
                return await _streamed(door.stream(prompt, **call, **params), stdout)
            return await door.generate(prompt, **call, **params)

    response = _run(answer(), as_json=as_json)
    if as_json:
        print_document(response_document(response))
    elif not stream:
        print_text(f"{response.text}\n")


@click.command()
@routing_options
def explain(
    *, prompt: str, config: str | None, agent: str | None, as_json: bool, params: dict[str, Any], **call: Any
) -> None:
    """Show where PROMPT would go and why, without asking."""

    async def decide() -> Decision:
        async with Router.from_config(config) as router:
            door = router.for_agent(agent) if agent else router
            return await door.explain(prompt, **call, **params)

    decision = _run(decide(), as_json=as_json)
    if as_json:
        print_document(decision_document(decision))
    else:
        _print_decision(decision)


async def _streamed(routed: RoutedStream, stdout: TextIO | None) -> Response:
    """Read the stream to its end, printing its words to *stdout* as they come; ``None`` prints nothing."""
    async with routed as stream:
        async for chunk in stream:
            if stdout is not None:
                _print_chunk(chunk, stdout)
        if stdout is not None:
            print_text("\n", stdout)
        return stream.response


def _print_chunk(chunk: Chunk, stdout: TextIO) -> None:
    if chunk.kind == "restart":
        click.echo("\n[interrupted: what stands above is void, the answer begins again]", err=True)
    elif chunk.text:
        print_text(chunk.text, stdout)


def _print_decision(decision: Decision) -> None:
    estimate = decision.estimate
    document = decision_document(decision)
    print_table(
        ("group", decision.group),
        [
            ("complexity", f"{estimate.complexity:.3f} by {estimate.source or 'an estimator'}"),
            ("because", estimate.reason or "no reason given"),
            ("input tokens", f"about {estimate.input_tokens}"),
            ("choice", document["reason"]),
            ("fallbacks", ", ".join(decision.fallbacks) or "none"),
        ],
    )
    click.echo()
    print_table(
        ("rank", "deployment", "model", "cost, USD", "ready", "reason"),
        [
            (
                str(one.rank or "-"),
                one.deployment,
                one.model,
                "unknown" if one.expected_cost_usd is None else f"{one.expected_cost_usd:.6f}",
                "yes" if one.ready else "no",
                one.reason,
            )
            for one in decision.ranking
        ],
    )


def _run(work: Coroutine[Any, Any, T], *, as_json: bool) -> T:
    """Run *work* in an event loop; Ctrl-C cancels it, so that everything it opened is closed.

    Standard output is the answer's alone: what plugins and logs print meanwhile goes to standard error.
    """
    try:
        with contextlib.redirect_stdout(sys.stderr):
            return asyncio.run(work)
    except AsyncRouterError as error:
        if as_json:
            print_error_document(error)
        raise Failed(error) from error
