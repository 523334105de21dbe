"""The least of many sums of two amounts, found without a look at each."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Iterable

Point = tuple[float, float, int]
"""Two prices and the place of whoever asks them."""
NOTHING = (math.inf, -1)


class Hull:
    """The places of *points* that are the cheapest for some amounts: the lower left of their convex hull.

    For n amounts of the first price and m of the second, ``n * first + m * second`` is least at a corner of the hull,
    and the higher n is against m, the lower is the first price there.  So the corners are kept with the ratios of n to
    m between which each is the cheapest.  Of points that are the same the one of the lowest place is kept.
    """

    __slots__ = ("_corners", "_ratios")

    def __init__(self, points: Iterable[Point]) -> None:
        corners: list[Point] = []
        for point in sorted(points):
            if corners and point[1] >= corners[-1][1]:
                continue
            while len(corners) > 1 and _is_above(corners[-1], corners[-2], point):
                corners.pop()
            corners.append(point)
        self._corners = corners[::-1]
        self._ratios = [(b[1] - a[1]) / (a[0] - b[0]) for a, b in itertools.pairwise(self._corners)]

    def least(self, n: float, m: float) -> tuple[float, int]:
        """Return the least sum for *n* and *m*, both more than 0, and its place, the lowest of several."""
        corners, ratios, ratio = self._corners, self._ratios, n / m
        if not corners:
            return NOTHING
        begin = bisect.bisect_left(ratios, ratio)
        if begin == len(ratios) or ratios[begin] > ratio:  # between two ratios, as nearly always
            first, second, place = corners[begin]
            return n * first + m * second, place
        end = bisect.bisect_right(ratios, ratio)
        return min([(n * first + m * second, place) for first, second, place in corners[begin : end + 1]])


def _is_above(middle: Point, left: Point, right: Point) -> bool:
    """Whether *middle* lies above the line from *left* to *right*: then it is never the cheapest."""
    across, up = right[0] - left[0], right[1] - left[1]
    return (middle[1] - left[1]) * across > up * (middle[0] - left[0])
