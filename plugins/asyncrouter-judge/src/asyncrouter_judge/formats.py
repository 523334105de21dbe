"""Checks of the form that was asked for: JSON, its schema, and the arguments of tools."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from asyncrouter.types.agreement import NO_JSON, parsed
from asyncrouter.types.request import Request
from asyncrouter.types.response import Response
from asyncrouter_judge.findings import Finding

LONGEST_JSON = 1_000_000
"""Characters; what is longer is not parsed, and so not judged."""

FaultOf = Callable[[Any, Any], str | None]
"""Returns what of a schema a value breaks, ``None`` when it keeps it or the schema itself is no good."""


def json_check(fault_of: FaultOf) -> Callable[[Request, Response], Finding | None]:
    """Return the check that asked-for JSON, and the arguments of tool calls, are what they have to be."""

    def check(request: Request, response: Response) -> Finding | None:
        if response.tool_calls:
            return _calls(request, response, fault_of)
        asked = request.params.get("response_format")
        if not isinstance(asked, Mapping) or asked.get("type") not in {"json_object", "json_schema"}:
            return None
        if len(response.text) > LONGEST_JSON:
            return None
        value = parsed(response.text)
        if value is NO_JSON:
            return Finding(0.0, "no JSON, which was asked for")
        if asked["type"] == "json_object":
            return None if isinstance(value, dict) else Finding(0.2, "JSON, but no object")
        fault = fault_of(_schema_of(asked), value)
        return None if fault is None else Finding(0.2, f"JSON that breaks the schema: {fault}")

    return check


def _schema_of(asked: Mapping[str, Any]) -> Any:
    named = asked.get("json_schema")
    return named.get("schema") if isinstance(named, Mapping) else None


def _calls(request: Request, response: Response, fault_of: FaultOf) -> Finding | None:
    """Find the first call of a tool that was not offered, or with arguments that it does not take."""
    offered = _offered(request)
    for call in response.tool_calls:
        function = call.get("function") if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping):
            continue
        name, arguments = function.get("name"), function.get("arguments")
        if offered and name not in offered:
            return Finding(0.1, "calls a tool that was not offered")
        if not isinstance(arguments, str) or len(arguments) > LONGEST_JSON:
            continue
        value = parsed(arguments or "{}")
        if not isinstance(value, dict):
            return Finding(0.0, "the arguments of a tool call are no JSON object")
        fault = fault_of(offered.get(name), value)
        if fault is not None:
            return Finding(0.2, f"the arguments of a tool call break its schema: {fault}")
    return None


def _offered(request: Request) -> dict[Any, Any]:
    """Return the parameter schemas of the tools that *request* offers, by name."""
    tools = request.params.get("tools")
    functions = [
        tool["function"]
        for tool in (tools if isinstance(tools, (list, tuple)) else ())
        if isinstance(tool, Mapping) and isinstance(tool.get("function"), Mapping)
    ]
    return {one.get("name"): one.get("parameters") for one in functions}


def schema_faults() -> FaultOf:
    """Return a function that validates by JSON Schema, offline: a reference to elsewhere is never fetched."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match
    from jsonschema.validators import validator_for
    from referencing import Registry

    registry: Registry[Any] = Registry()

    def fault_of(schema: Any, value: Any) -> str | None:
        if not isinstance(schema, Mapping):
            return None
        try:
            kind = validator_for(schema, default=Draft202012Validator)
            error = best_match(kind(schema, registry=registry).iter_errors(value))
        except Exception:  # a schema is the caller's and may be anything; the answer is not to blame for it
            return None
        return None if error is None else f'"{error.validator}"'

    return fault_of
