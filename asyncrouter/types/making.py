r"""Frozen objects made fast: for the few that every call makes.

The constructor of a frozen class puts each field past the class's own ``__setattr__``, and a class that is called with
keywords has a dict made of them first: 1.2 µs for an ``Attempt``, and a plain call makes six such objects.  What
:func:`maker` returns fills an object of a subclass that is not frozen, and makes it one of the class itself then:
0.3 µs, measured with ``Attempt`` and with ``new_attempt`` by

    python -m timeit -s "from asyncrouter.types.trace import Attempt as make" \
        "make(number=1, deployment='a', group='g', kind='first', outcome='ok', started_at=0.0, duration_s=1.0)"
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import attrs

P = ParamSpec("P")
T = TypeVar("T")
THAWED = {"__slots__": (), "__setattr__": object.__setattr__, "__delattr__": object.__delattr__}
"""What makes a subclass of a frozen class whose fields are stored directly: Python wants both for that."""


def maker(frozen: Callable[P, T]) -> Callable[P, T]:
    """Return what makes an object of *frozen*, a frozen attrs class with slots, of the same arguments as the class.

    No converter, validator or ``__attrs_post_init__`` runs: it is for values that are known to be right.
    """
    cls: Any = frozen
    fields: Any = attrs.fields(cls)
    given = ", ".join(one.alias if one.default is attrs.NOTHING else f"{one.alias}=_{one.alias}" for one in fields)
    lines = [
        f"def make({'*, ' if fields[0].kw_only else ''}{given}):",
        "made = new(unfrozen)",
        *[f"made.{one.name} = {one.alias}" for one in fields],
        "made.__class__ = frozen",
        "return made",
    ]
    known = {
        "new": object.__new__,
        "unfrozen": type(f"_Unfrozen{cls.__name__}", (cls,), THAWED),
        "frozen": cls,
        **{f"_{one.alias}": one.default for one in fields},
    }
    exec("\n ".join(lines), known)  # noqa: S102 - names of fields only
    made: Callable[P, T] = known["make"]
    return made
