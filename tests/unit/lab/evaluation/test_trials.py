"""Trainers put to the test: what they learn from, and that no tested prompt is among it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from asyncrouter.hooks.markers import hookimpl
from asyncrouter.hooks.registry import Registry
from asyncrouter.lab.evaluation.folds import folds, folds_together, some, without_prompts_of
from asyncrouter.lab.evaluation.trials import LEARN_FROM, Trial, run_trial
from asyncrouter.lab.outcomes import Outcomes, concat
from asyncrouter.lab.outcomes.table import digest
from asyncrouter.lab.training import NamedTrainer
from asyncrouter.types.decisions import Estimate
from asyncrouter.types.errors import ConfigError, PluginContractError
from asyncrouter.types.model_file import ModelFile


def table(source, prompts, groups=None):
    count = len(prompts)
    return Outcomes(
        ids=tuple(prompts), prompts=tuple(prompts), groups=tuple(groups or [source] * count), sources=(source,) * count,
        models=("strong", "weak"), scores=np.tile([1.0, 0.0], (count, 1)),
    )  # fmt: skip


def numbered(source, count, **given):
    return table(source, [f"{source} {number}" for number in range(count)], **given)


class Parrot:
    """Knows by heart what it has learned: complexity 1 for those prompts, 0 for others."""

    def __init__(self, *, model):
        self.known = set(ModelFile.read(model).content.decode().split("\n"))

    @hookimpl
    def asyncrouter_estimate(self, request):
        return Estimate(complexity=float(request.messages[0]["content"] in self.known))


def make_trainer(written, *, with_prior):
    class ParrotTrainer:
        """Writes down its prompts, those of its prior first."""

        def __init__(self, *, prior="none"):
            self.before = b"" if prior == "none" else ModelFile.read(prior).content
            self.prior = prior

        def train(self, outcomes, *, seed, progress):
            written.append((Path(self.prior).name, outcomes.prompts, seed))
            progress(1.0)
            content = b"\n".join([self.before, *(prompt.encode() for prompt in outcomes.prompts)])
            return bytes(ModelFile("parrot", content))

    def without_prior():
        """Starts from nothing."""
        return ParrotTrainer()

    return ParrotTrainer if with_prior else without_prior


def registry_of(factory):
    registry = Registry()
    registry.estimator("parrot", Parrot)
    registry.trainer("parrot", factory)
    return registry


@pytest.fixture
def written():
    """Return what the trainers learned from, in the order of their training."""
    return []


@pytest.fixture(params=[True, False], ids=["with a prior", "without"])
def parrot(request, written):
    return NamedTrainer("parrot", {}, registry_of(make_trainer(written, with_prior=request.param)))


TABLES = [numbered("a", 20, groups=["g", "h"] * 10), numbered("b", 15, groups=["i"] * 5 + ["j"] * 10)]


@pytest.mark.parametrize("learn_from", LEARN_FROM)
@pytest.mark.parametrize("by_group", [False, True])
def test_no_prompt_is_tested_that_was_learned(parrot, learn_from, by_group):
    trial = Trial(learn_from=learn_from, folds=2, by_group=by_group, seed=3)
    for said, tested in zip(run_trial(parrot, trial, TABLES), TABLES, strict=True):
        assert (said.estimates.complexities == 0.0).all()
        assert said.estimates.complexities.shape == (len(tested),)
        assert said.seen == 0


def test_a_model_that_has_seen_the_prompts_is_found_out(written):
    class Cheat:
        """Learns from what it is not given too."""

        def train(self, outcomes, *, seed, progress):
            return bytes(ModelFile("parrot", "\n".join(everything).encode(), map(digest, everything)))

    everything = [*TABLES[0].prompts, *TABLES[1].prompts]
    cheat = NamedTrainer("parrot", {}, registry_of(Cheat))
    said = run_trial(cheat, Trial(learn_from="own", folds=2), TABLES)
    assert [one.seen for one in said] == [20, 15]


def test_what_each_way_learns_from(parrot, written):
    has_prior = parrot.takes_prior

    def learned(**trial):
        written.clear()
        run_trial(parrot, Trial(folds=5, seed=7, **trial), TABLES)
        return [(prior, {prompt[0] for prompt in prompts}, len(prompts)) for prior, prompts, _seed in written]

    assert learned(learn_from="own") == [("none", {"a"}, 16)] * 5 + [("none", {"b"}, 12)] * 5
    assert learned(learn_from="own", own_labels=10) == [("none", {"a"}, 10)] * 5 + [("none", {"b"}, 10)] * 5
    assert learned(learn_from="others") == [("none", {"b"}, 15), ("none", {"a"}, 20)]
    assert learned(learn_from="together") == [("none", {"a", "b"}, 28)] * 5
    both = learned(learn_from="others+own", own_labels=3)
    if has_prior:
        assert both == [
            ("none", {"b"}, 15),
            *[("1.model", {"a"}, 3)] * 5,
            ("none", {"a"}, 20),
            *[("0.model", {"b"}, 3)] * 5,
        ]
    else:
        assert both == [("none", {"a", "b"}, 18)] * 5 + [("none", {"a", "b"}, 23)] * 5
    assert {seed for _prior, _prompts, seed in written} == {7}
    assert learned(learn_from="others+own", own_labels=0) == learned(learn_from="others")


def test_a_prompt_of_two_files_is_left_out_where_it_is_tested(parrot, written):
    twins = [numbered("a", 10), table("b", ["A, 3!", "b 1", "b 2", "b 3", "b 4"])]
    run_trial(parrot, Trial(learn_from="others", folds=2), twins)
    assert [prompts for _prior, prompts, _seed in written] == [
        ("b 1", "b 2", "b 3", "b 4"),
        tuple(f"a {number}" for number in range(10) if number != 3),
    ]


@pytest.mark.parametrize(
    ("tables", "trial", "message"),
    [
        (TABLES[:1], {"learn_from": "others"}, "give two files or more"),
        (TABLES, {"learn_from": "own", "folds": 16}, "b: too few prompts for 16 folds"),
        (TABLES, {"learn_from": "own", "by_group": True, "folds": 3}, "a: too few groups for 3 folds"),
        ([TABLES[0], TABLES[0]], {"learn_from": "others"}, "a: every prompt is in a too, so nothing is left"),
    ],
)
def test_what_cannot_be_tried_is_told(parrot, tables, trial, message):
    with pytest.raises(ConfigError, match=message):
        run_trial(parrot, Trial(**trial), tables)


def test_a_trainer_must_return_a_model_file():
    class Wrong:
        """Returns something else."""

        def train(self, outcomes, *, seed, progress):
            return b"weights"

    with pytest.raises(PluginContractError, match="trainer 'parrot': train returned no model file"):
        NamedTrainer("parrot", {}, registry_of(Wrong)).train(TABLES[0], seed=0)


def test_folds_are_even_and_repeatable():
    wide = numbered("a", 103)
    split = folds(wide, 5, seed=1)
    assert sorted(np.bincount(split)) == [20, 20, 21, 21, 21]
    assert (split == folds(wide, 5, seed=1)).all()
    assert (split != folds(wide, 5, seed=2)).any()


def test_equal_prompts_and_groups_are_kept_together():
    doubled = table(
        "a", [f"p {number // 2}" for number in range(40)], groups=[f"g{number % 8}" for number in range(40)]
    )
    by_prompt = folds(doubled, 4, seed=0)
    assert (by_prompt[::2] == by_prompt[1::2]).all()
    by_group = folds(doubled, 4, seed=0, by_group=True)
    assert all((by_group[start::8] == by_group[start]).all() for start in range(8))
    assert np.bincount(by_group).tolist() == [10] * 4


def test_a_prompt_of_two_files_is_in_the_same_fold_of_both():
    one = numbered("a", 40)
    other = table("b", [f"b {number}" for number in range(30)] + list(one.prompts[10:30]))
    of_one, of_other = folds_together([one, other], 5, seed=3)
    assert of_other[30:].tolist() == of_one[10:30].tolist()
    assert np.bincount(of_one).tolist() == [8] * 5
    assert np.bincount(of_other).tolist() == [10] * 5


def test_a_prompt_of_two_files_is_tested_in_both_at_once(parrot, written):
    one = numbered("a", 20)
    other = table("b", [*one.prompts[5:], *(f"b {number}" for number in range(5))])
    run_trial(parrot, Trial(learn_from="together", folds=4), [one, other])
    assert [len(prompts) for _, prompts, _ in written] == [30] * 4


def test_some_rows_are_drawn_by_lot():
    wide = numbered("a", 50)
    assert len(some(wide, 7, seed=0)) == 7
    assert some(wide, 7, seed=0).prompts != some(wide, 7, seed=1).prompts
    assert some(wide, 99, seed=0) is wide
    assert len(without_prompts_of(concat([wide, numbered("b", 5)]), wide)) == 5


def test_nothing_is_learned_from_a_log_without_prompts(parrot, written):
    silent = table("log", ["", ""])
    with pytest.raises(ConfigError, match=r"no prompts to learn from: .* prompts = true"):
        parrot.train(silent, seed=0)
    assert written == []
