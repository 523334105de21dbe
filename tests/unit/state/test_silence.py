"""How long calls have waited for a deployment while nobody got an answer."""

from __future__ import annotations

from asyncrouter.state.silence import Silence


def test_nobody_waits():
    assert Silence().lasts_s(100.0) == 0.0


def test_it_lasts_from_the_first_that_waits():
    silence = Silence()
    silence.began(1.0)
    silence.began(3.0)
    assert silence.lasts_s(5.0) == 4.0


def test_one_answer_breaks_it_for_all_that_wait():
    silence = Silence()
    silence.began(1.0)
    silence.began(3.0)
    silence.broken(4.0)
    assert silence.lasts_s(5.0) == 1.0
    silence.broken(6.0)
    assert silence.lasts_s(9.0) == 0.0


def test_what_was_given_up_had_waited_for_so_long_at_least():
    silence = Silence()
    silence.began(1.0)
    silence.given_up(11.0)
    assert silence.lasts_s(50.0) == 10.0
    silence.began(60.0)
    assert silence.lasts_s(61.0) == 10.0
    assert silence.lasts_s(75.0) == 15.0
    silence.broken(76.0)
    assert silence.lasts_s(77.0) == 0.0


def test_who_is_given_up_does_not_shorten_what_the_others_wait():
    silence = Silence()
    silence.began(1.0)
    silence.began(2.0)
    silence.given_up(4.0)
    assert silence.lasts_s(10.0) == 9.0


def test_what_has_been_may_be_forgotten():
    silence = Silence()
    silence.began(1.0)
    silence.given_up(11.0)
    silence.began(12.0)
    silence.forget(13.0)
    assert silence.lasts_s(15.0) == 2.0
