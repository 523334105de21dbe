"""When two answers say the same: what majorities and self-consistency compare."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from asyncrouter.types.response import text_in

LONGEST_CONCLUSION = 200
"""Characters of a conclusion; what is longer is no conclusion."""
_FENCED = re.compile(r"\A```\w*\n(.*)\n?```\Z", re.DOTALL)
_BOXED = re.compile(r"\\boxed\{([^{}]+)\}")
_CONCLUSION = re.compile(r"(?:\A|.*[\s*_])(?:####|answer(?:\*\*)?(?: is)?:?)[\s*:]+(\S.*)\Z", re.IGNORECASE)
_EDGES = " \t\n.,;:!?\"'`*_()[]"


def normal_form(message: Mapping[str, Any]) -> str:
    r"""Return what *message* (a chat-completions message) says, so that messages which say the same are equal.

    Tool calls are compared by names and arguments, in any order; JSON by its values; a text by its conclusion where it
    names one (``\boxed{…}``, or a last line with ``#### …`` or "answer: …", the forms in which benchmarks ask for it),
    and otherwise as a whole, without regard to case, white space and the punctuation around it.
    """
    calls = message.get("tool_calls")
    if isinstance(calls, Sequence) and not isinstance(calls, str) and calls:
        return "tools:" + "\n".join(sorted(map(_call, calls)))
    text = text_in(message).strip()
    fenced = _FENCED.match(text)
    value = parsed(fenced[1] if fenced else text)
    if isinstance(value, (dict, list)):
        return "json:" + _canonical(value)
    return "text:" + _plain(_conclusion(text))


def parsed(text: str) -> Any:
    """Return the value of the JSON *text*, :data:`NO_JSON` when it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return NO_JSON


def _call(call: object) -> str:
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping):
        return ""
    arguments = function.get("arguments")
    value = parsed(arguments) if isinstance(arguments, str) else arguments
    return f"{function.get('name')} {_canonical(arguments if value is NO_JSON else value)}"


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)


def _conclusion(text: str) -> str:
    if boxed := _BOXED.findall(text):
        return str(boxed[-1])
    last = text[text.rfind("\n") + 1 :]
    named = _CONCLUSION.match(last) if len(last) <= LONGEST_CONCLUSION else None
    return named[1] if named else text


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split()).strip(_EDGES)


NO_JSON = object()
"""What :func:`parsed` returns for a text that is no JSON."""
