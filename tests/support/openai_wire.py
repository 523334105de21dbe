"""The test kit's steps as a scripted OpenAI-compatible server writes them."""

from __future__ import annotations

from collections.abc import Callable

from asyncrouter.testing import http_script as http
from asyncrouter.testing.script import Fail, Hang, Reply, Step, Stream
from asyncrouter.testing.server import ReceivedRequest
from asyncrouter.testing.wire import chunk_fields, closing_chunks, completion, streamed

MODEL = "scripted"


def script_of(step: Step) -> Callable[[ReceivedRequest], http.Script]:
    """Return what a :class:`ScriptedServer` does to answer *step*, whether plain or streamed."""

    def answer(request: ReceivedRequest) -> http.Script:
        if isinstance(step, Hang):
            return http.Hang()
        if isinstance(step, Fail):
            wait = {} if step.retry_after_s is None else {"retry-after": f"{step.retry_after_s:g}"}
            error = {"error": {"message": step.message, "type": "scripted"}}
            return http.Json(error, step.status or step.usual_status or 500, headers=wait)
        if isinstance(step, Reply) and not request.json.get("stream"):
            return http.Json(completion(step, MODEL))
        if not isinstance(step, (Reply, Stream)):
            raise TypeError(f"{step!r} has no form on the wire")
        return _sse(step if isinstance(step, Stream) else streamed(step))

    return answer


def _sse(stream: Stream) -> http.Sse:
    pieces = [chunk_fields(MODEL, {"role": "assistant", "content": ""})]
    pieces += [chunk_fields(MODEL, {"content": piece}) for piece in stream.pieces]
    events: list[object] = [*pieces, *closing_chunks(stream, MODEL)]
    if stream.stall_after is not None:
        events = [*pieces[: 1 + stream.stall_after], http.Gate()]
    cut_after = None if stream.cut_after is None else 1 + stream.cut_after
    return http.Sse(events, cut_after=cut_after, pause_s=stream.pause_s)
