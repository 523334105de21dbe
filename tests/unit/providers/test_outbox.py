from __future__ import annotations

import asyncio

from asyncrouter.providers.outbox import TOGETHER, Outbox


class Wire:
    """Takes the place of a transport: keeps what is written."""

    def __init__(self):
        self.written = []
        self.closing = False

    def is_closing(self):
        return self.closing

    def write(self, request):
        self.written.append(request)


async def test_requests_of_one_turn_go_out_at_its_end():
    outbox, wires = Outbox(asyncio.get_running_loop()), [Wire() for _ in range(TOGETHER - 1)]
    for number, wire in enumerate(wires):
        outbox.send(wire, b"%d" % number)
    assert not any(wire.written for wire in wires)
    await asyncio.sleep(0)
    assert [wire.written for wire in wires] == [[b"%d" % number] for number in range(TOGETHER - 1)]


async def test_no_more_wait_than_go_out_together():
    outbox, wire = Outbox(asyncio.get_running_loop()), Wire()
    for _ in range(2 * TOGETHER + 1):
        outbox.send(wire, b"x")
    assert len(wire.written) == 2 * TOGETHER
    await asyncio.sleep(0)
    assert len(wire.written) == 2 * TOGETHER + 1


async def test_the_next_turn_has_its_own_end():
    outbox, wire = Outbox(asyncio.get_running_loop()), Wire()
    for turn in range(1, 4):
        outbox.send(wire, b"x")
        await asyncio.sleep(0)
        assert len(wire.written) == turn


async def test_nothing_is_sent_where_the_connection_is_closing():
    outbox, closing, open_one = Outbox(asyncio.get_running_loop()), Wire(), Wire()
    outbox.send(closing, b"x")
    outbox.send(open_one, b"y")
    closing.closing = True
    await asyncio.sleep(0)
    assert (closing.written, open_one.written) == ([], [b"y"])
