"""An order whose first is known: the rest is made when it is read, once, and holds every candidate."""

from __future__ import annotations

import copy
import pickle

import attrs
import pytest

from asyncrouter.types.decisions import Selection
from asyncrouter.types.deployments import Deployment
from asyncrouter.types.errors import PluginContractError
from asyncrouter.types.ranking import Ranking, first_of, made

A, B, C = (Deployment(name=name, provider="p", model="m") for name in "abc")


def never():
    raise AssertionError("the rest was made though nobody read it")


def test_the_first_and_the_number_are_known_without_the_rest():
    selection = Selection(deployments=Ranking((A, B, C), 1, never), reason="b")
    widened = attrs.evolve(selection, parallel=2)
    assert (widened.first, len(widened.order), widened.reason, widened.parallel) == (B, 3, "b", 2)


def test_the_rest_is_made_once_with_the_first_in_front():
    asked = []

    def order():
        asked.append(1)
        return (C, B, A)

    selection = Selection(deployments=Ranking((A, B, C), 1, order))
    assert selection.deployments == (B, C, A)
    assert selection.deployments is selection.deployments
    assert asked == [1]


def test_a_ranking_is_compared_shown_and_copied_as_what_it_holds():
    lazy, plain = Selection(deployments=Ranking((A, B), 1, lambda: (A, B))), Selection(deployments=(B, A))
    assert lazy == plain
    assert hash(lazy) == hash(plain)
    assert repr(lazy) == repr(plain)
    for twin in (copy.copy(lazy.order), copy.deepcopy(lazy.order), pickle.loads(pickle.dumps(lazy.order))):  # noqa: S301
        assert type(twin) is tuple
        assert twin == (B, A)


@pytest.mark.parametrize("order", [(A,), (A, B, B), (A, B, Deployment(name="c", provider="p", model="m"))])
def test_an_order_of_anything_but_all_candidates_breaks_the_contract(order):
    with pytest.raises(PluginContractError, match="all its candidates, each once") as caught:
        Ranking((A, B, C), 0, lambda: order).made()
    assert (caught.value.plugin, caught.value.hook) == (__name__, "asyncrouter_select")


def test_a_ranking_of_none_has_no_first():
    with pytest.raises(IndexError):
        Ranking((), 0, never)


def test_an_order_of_either_kind_has_a_first_and_all():
    for order in ((B, A, C), Ranking((A, B, C), 1, lambda: (A, B, C))):
        assert first_of(order) is B
        assert made(order) == (B, A, C)
