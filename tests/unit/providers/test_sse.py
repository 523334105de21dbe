"""The parser of server-sent events: same result wherever the network cuts, and nothing but its own error."""

from __future__ import annotations

import itertools
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncrouter.providers.sse import MAX_EVENT_BYTES, EventTooLarge, SseParser

CORPUS = {
    "plain": (b'data: {"a": 1}\n\ndata: {"b": 2}\n\ndata: [DONE]\n\n', [b'{"a": 1}', b'{"b": 2}', b"[DONE]"]),
    "crlf": (b"data: a\r\n\r\ndata: b\r\n\r\n", [b"a", b"b"]),
    "cr": (b"data: a\r\rdata: b\r\r", [b"a", b"b"]),
    "mixed ends": (b"data: a\r\n\ndata: b\n\r\ndata: c\r\n\rdata: d\n\r", [b"a", b"b", b"c", b"d"]),
    "byte order mark": (b"\xef\xbb\xbfdata: a\n\n", [b"a"]),
    "a second mark is data": (b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\ndata: b\n\n", [b"b"]),
    "half a mark": (b"\xef\xbbdata: a\n\ndata: b\n\n", [b"b"]),
    "no space": (b"data:a\n\ndata:  b\n\n", [b"a", b" b"]),
    "several lines": (b"data: a\ndata: b\ndata\ndata: c\n\n", [b"a\nb\n\nc"]),
    "comments": (b": ping\n\n:\n\n: x\ndata: a\n: y\n\n", [b"a"]),
    "other fields": (b"event: error\nid: 7\nretry: 10\ndata: a\nx\n\n", [b"a"]),
    "longer names": (b"database: a\ndatab\n\ndata: b\n\n", [b"b"]),
    "blank lines": (b"\n\n\n\r\n\rdata: a\n\n\n\n", [b"a"]),
    "text": ("data: „é 🎉 \u2028 \u0085 x“\n\n".encode(), ["„é 🎉 \u2028 \u0085 x“".encode()]),
    "a colon inside": (b"data: a: b\n\n", [b"a: b"]),
    "events in events": (b"data: a\n\n\ndata: b\n\n", [b"a", b"b"]),
    "empty data": (b"data: \n\ndata:\n\n", [b"", b""]),
    "nul": (b"data: \x00\n\n", [b"\x00"]),
}


def parse(pieces, limit=MAX_EVENT_BYTES):
    parser = SseParser(limit)
    events = [event for piece in pieces for event in parser.feed(piece)]
    return events, parser.end()


@pytest.mark.parametrize(("stream", "events"), CORPUS.values(), ids=CORPUS)
def test_corpus_at_every_split_into_three_and_byte_by_byte(stream, events):
    assert parse([stream]) == (events, None)
    for first in range(len(stream) + 1):
        for second in range(first, len(stream) + 1):
            pieces = [stream[:first], stream[first:second], stream[second:]]
            assert parse(pieces) == (events, None), pieces
    assert parse([stream[i : i + 1] for i in range(len(stream))]) == (events, None)


FRAGMENTS = [
    b"data: ",
    b"data:",
    b"data",
    b"\n",
    b"\r",
    b"\r\n",
    b"\n\n",
    b": c",
    b"event: x",
    b"a",
    b"{}",
    b"\xef\xbb\xbf",
]


@settings(max_examples=300, deadline=None)
@given(
    stream=st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.binary(max_size=4)), max_size=30).map(b"".join),
    cuts=st.lists(st.integers(0, 120), max_size=8),
    limit=st.sampled_from([5, 12, MAX_EVENT_BYTES]),
)
def test_no_cut_changes_the_result_and_no_bytes_raise_anything_else(stream, cuts, limit):
    def outcome(pieces):
        try:
            return parse(pieces, limit)
        except EventTooLarge:
            return "too large"

    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    whole = outcome([stream])
    assert outcome([stream[a:b] for a, b in itertools.pairwise(edges)]) == whole
    assert outcome([stream[i : i + 1] for i in range(len(stream))]) == whole


@pytest.mark.parametrize(
    ("stream", "rest"),
    [
        (b"data: a\n\ndata: b", b"b"),
        (b"data: a\n\ndata: b\n", b"b"),
        (b"data: a\ndata: b", b"a\nb"),
        (b"data: a\n\n: ping", None),
        (b"", None),
        (b"\xef", None),
    ],
)
def test_what_the_end_cuts_off_is_returned_by_end(stream, rest):
    parser = SseParser()
    parser.feed(stream)
    assert parser.end() == rest
    assert parser.end() is None


@pytest.mark.parametrize(
    "stream",
    [b"data: " + b"x" * 100, b": " + b"x" * 100 + b"\n", b"data: xxxxxxx\n" * 20, b"data: " + b"x" * 100 + b"\n\n"],
)
def test_lines_and_events_have_a_limit(stream):
    with pytest.raises(EventTooLarge, match="longer than 64 bytes"):
        SseParser(64).feed(stream)


def test_the_limit_counts_each_event_anew():
    parser = SseParser(64)
    for _ in range(50):
        assert parser.feed(b"data: " + b"x" * 50 + b"\ndata: y\n\n")


def test_the_end_keeps_the_limit_too():
    parser = SseParser(16)
    parser.feed(b"data: 12345678\ndata: 12345")
    parser.feed(b"678")
    with pytest.raises(EventTooLarge):
        parser.end()


def test_a_long_line_in_small_pieces_takes_linear_time():
    parser = SseParser()
    began = time.process_time()
    for _ in range(300_000):  # joined at each read, these were 45 GB to copy
        parser.feed(b"x")
    assert parser.feed(b"\ndata: a\n\n") == [b"a"]
    assert time.process_time() - began < 5
