"""How long to wait by what an upstream says is left."""

from __future__ import annotations

import pytest

from asyncrouter.types.allowances import Allowance


@pytest.mark.parametrize(
    ("allowance", "amount", "wait_s"),
    [
        (Allowance(1, 60.0, 60), 1, 0.0),
        (Allowance(0, 60.0, 60), 1, 1.0),  # sixty come back in a minute, so one in a second
        (Allowance(0, 30.0, 60), 1, 0.5),
        (Allowance(50, 59.7, 10_000), 1045, 5.97),
        (Allowance(50, 59.7, 10_000), 50, 0.0),
        (Allowance(50, 59.7, 10_000), 1_000_000, 59.7),  # more than fits: all of it
        (Allowance(0, 20.0), 1, 20.0),  # a window: it comes back at once, at its end
        (Allowance(1, 20.0), 1000, 0.0),
        (Allowance(0, None, 60), 1, 0.0),
        (Allowance(0, 0.0, 60), 1, 0.0),
        (Allowance(0, 20.0, 0), 1, 20.0),  # a limit of none is no limit that fills up
        (Allowance(70, 20.0, 60), 100, 0.0),
    ],
)
def test_the_wait_until_so_much_is_left(allowance, amount, wait_s):
    assert allowance.wait_s(amount) == pytest.approx(wait_s)
