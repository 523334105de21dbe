"""Server-sent events, parsed as they come from the network: bytes in, the data of whole events out.

Only ``data`` matters to a chat stream: comments and the fields ``event``, ``id`` and ``retry`` are read over.  Lines
end with CR, LF or CRLF (WHATWG HTML, 9.2.5); U+2028 and the like end nothing, since everything stays bytes until an
event is whole.  The result does not depend on where the network cuts the stream.
"""

from __future__ import annotations

from collections.abc import Sequence

MAX_EVENT_BYTES = 8 * 2**20
"""The longest line, and the most data of one event, that is taken."""
_BOM = b"\xef\xbb\xbf"
_PLAIN_START, _PLAIN_BETWEEN, _PLAIN_END = b"data: ", b"\n\ndata: ", b"\n\n"


class EventTooLarge(ValueError):
    """A line, or the data of one event, is longer than the parser takes."""


class SseParser:
    """One stream's parser.  After :class:`EventTooLarge` it must not be fed again."""

    __slots__ = ("_begun", "_data", "_data_size", "_held", "_held_size", "_limit", "_skip_lf")

    def __init__(self, limit: int = MAX_EVENT_BYTES) -> None:
        self._limit = limit
        self._begun = False
        self._skip_lf = False
        self._held: list[bytes] = []  # pieces of a line that has no end yet; joined once, when it comes
        self._held_size = 0
        self._data: list[bytes] = []  # data lines of an event that has no end yet
        self._data_size = 0

    def feed(self, read: bytes) -> Sequence[bytes]:
        """Take one network read and return the data of the events that it completes, in order.

        Raises :class:`EventTooLarge`.
        """
        if (
            read.startswith(_PLAIN_START)
            and read.endswith(_PLAIN_END)
            and not (self._held or self._data or self._skip_lf)
        ):
            # Nothing but whole events "data: …", as nearly all reads are: six calls into C, not a loop over its lines.
            self._begun = True
            events = read[len(_PLAIN_START) : -len(_PLAIN_END)].split(_PLAIN_BETWEEN)
            is_plain = read.count(b"\n") == 2 * len(events) and b"\r" not in read
            if is_plain and len(read) <= self._limit:
                return events
        if not self._begun:
            read = self._after_bom(read)
        return self._parse(read)

    def end(self) -> bytes | None:
        """Return the data of an event that the end of the stream has cut off, whole or not; ``None`` without one."""
        line = b"".join(self._held)
        self._held.clear()
        self._take_line(line)
        data, self._data = self._data, []
        return b"\n".join(data) if data else None

    def _after_bom(self, read: bytes) -> bytes:
        head = b"".join(self._held) + read
        if len(head) < len(_BOM) and _BOM.startswith(head):
            self._held = [head]
            return b""
        self._begun = True
        self._held = []
        return head.removeprefix(_BOM)

    def _parse(self, read: bytes) -> list[bytes]:
        if self._skip_lf and read:
            read = read.removeprefix(b"\n")
            self._skip_lf = False
        if b"\r" in read:
            self._skip_lf = read.endswith(b"\r")  # it ends its line now; an LF that follows belongs to it
            read = read.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        first, *lines = read.split(b"\n")
        self._hold(first)
        if not lines:
            return []
        rest = lines.pop()
        lines.insert(0, b"".join(self._held))
        self._held, self._held_size = [], 0
        events = []
        for line in lines:
            if line:
                self._take_line(line)
            elif self._data:
                events.append(self._data[0] if len(self._data) == 1 else b"\n".join(self._data))
                self._data, self._data_size = [], 0
        self._hold(rest)
        return events

    def _hold(self, piece: bytes) -> None:
        if piece:
            self._held.append(piece)
            self._held_size += len(piece)
            self._check(self._held_size)

    def _take_line(self, line: bytes) -> None:
        self._check(len(line))
        if not line.startswith(b"data"):
            return
        if line[4:5] == b":":
            value = line[6:] if line[5:6] == b" " else line[5:]
        elif len(line) == len(b"data"):
            value = b""
        else:
            return
        self._data_size += len(value) + 1
        self._check(self._data_size - 1)
        self._data.append(value)

    def _check(self, size: int) -> None:
        if size > self._limit:
            raise EventTooLarge(f"an event is longer than {self._limit} bytes")
