"""Qualities of many models learned from outcomes: what is learned, how it is written and read, what the router does."""

from __future__ import annotations

import json
import zlib
from types import SimpleNamespace

import attrs
import numpy as np
import pytest
from asyncrouter_cost import estimator, trainer
from asyncrouter_cost.models import regression
from asyncrouter_cost.models.content import read, written
from asyncrouter_cost.models.training import Known, learn
from asyncrouter_cost.models.traits import prompt_of
from asyncrouter_cost.models.trust import trust

from asyncrouter.testing import fake_router
from asyncrouter.types.deployments import Deployment, ModelGroup
from asyncrouter.types.errors import ConfigError
from asyncrouter.types.model_file import ModelFile
from asyncrouter.types.request import Request

MODELS = ("coder", "talker", "idler")


def outcomes_of(prompts, scores, models=MODELS, **more):
    return SimpleNamespace(
        prompts=tuple(prompts), models=models, scores=scores, **{"lengths": None, "costs": None, **more}
    )


def table(rows=400, seed=0, unknown=0.0):
    """One model is good at code, one at everything else, one at nothing; half of the prompts are code."""
    rng = np.random.default_rng(seed)
    is_code = rng.random(rows) < 0.5
    code, talk = "def f(x):\n    return x[{0}] == {1}", "Who was the {0}th king, and when did he reign for {1} years?"
    prompts = tuple(
        (code if one else talk).format(*rng.integers(100, size=2)) + " please" * int(rng.integers(9)) for one in is_code
    )
    chances = np.where(is_code[:, None], [0.9, 0.4, 0.2], [0.3, 0.8, 0.2])
    scores = (rng.random(chances.shape) < chances).astype(float)
    scores[rng.random(scores.shape) < unknown] = np.nan
    return outcomes_of(prompts, scores, is_code=is_code)


def trained(outcomes=None, seed=0):
    return trainer().train(outcomes or table(), seed=seed, progress=lambda _share: None)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    file = tmp_path_factory.mktemp("model") / "m.model"
    file.write_bytes(trained())
    return file


def group(**models):
    return ModelGroup(
        name="g", deployments=tuple(Deployment(name=name, provider="p", model=model) for name, model in models.items())
    )


def ask(path, prompt, **models):
    request = Request(messages=[{"role": "user", "content": prompt}])
    return estimator(model=path).asyncrouter_estimate(request, group(**models))


# ------------------------------------------------------------------ what is learned


def test_it_finds_who_is_good_at_what(path):
    held = table(seed=1)
    names = dict(zip(MODELS, MODELS, strict=True))
    firsts = [max((told := ask(path, one, **names).qualities), key=told.get) for one in held.prompts[:60]]
    right = ["coder" if one else "talker" for one in held.is_code[:60]]
    assert sum(map(str.__eq__, firsts, right)) >= 58


def test_qualities_are_calibrated(path):
    told = ask(
        path, table(seed=1).prompts[int(np.flatnonzero(table(seed=1).is_code)[0])], coder="x", idler="y"
    ).qualities
    assert told["coder"] == pytest.approx(0.9, abs=0.12)
    assert told["idler"] == pytest.approx(0.2, abs=0.12)


def test_where_nothing_can_be_told_each_model_has_its_mean():
    """Scores that no prompt foretells: the penalty draws everything to the means, so the best of them is chosen."""
    rng = np.random.default_rng(3)
    outcomes = table(rows=600)
    scores = (rng.random(outcomes.scores.shape) < [0.7, 0.5, 0.3]).astype(float)
    model = learn(outcomes.prompts, Known(scores=scores), MODELS, seed=0, progress=lambda _share: None)
    expected = model.expected(table(seed=1).prompts).qualities
    assert np.abs(expected - scores.mean(axis=0)).max() < 0.12
    assert (expected.argmax(axis=1) == 0).all()


def only_one_known(outcomes):
    """A router's log: one model was asked."""
    asked = np.random.default_rng(9).integers(3, size=len(outcomes.scores))
    outcomes.scores[np.arange(3) != asked[:, None]] = np.nan
    return outcomes


@pytest.mark.parametrize("outcomes", [table(rows=800, unknown=0.6), only_one_known(table(rows=1200))])
def test_unknown_scores_are_no_bad_ones(outcomes):
    model = read(ModelFile.parse(trained(outcomes), "").content, "")
    held = table(seed=1)
    expected = model.expected(held.prompts).qualities
    assert expected[held.is_code].mean(axis=0) == pytest.approx([0.9, 0.4, 0.2], abs=0.12)


def test_the_same_outcomes_give_the_same_bytes():
    assert trained(seed=5) == trained(seed=5) != trained(seed=6)


@pytest.mark.parametrize("outcomes", [
    outcomes_of("a" * 50, np.ones((50, 1)), ("a",)),
    outcomes_of("a" * 3, np.ones((3, 2)), ("a", "b")),
    outcomes_of("a" * 50, np.full((50, 2), np.nan), ("a", "b")),
    outcomes_of([""] * 50, np.ones((50, 2)), ("a", "b")),
])  # fmt: skip
def test_too_little_to_learn_from(outcomes):
    with pytest.raises(ConfigError, match="give two models or more, and 10 prompts or more"):
        trained(outcomes)


def test_one_prompt_over_and_over_is_no_harm():
    scores = np.tile([[1.0, 0.0]], (30, 1))
    outcomes = outcomes_of(["the same"] * 30, scores, ("a", "b"))
    model = read(ModelFile.parse(trained(outcomes), "").content, "")
    assert model.expected(["something else\n" * 9]).qualities[0] == pytest.approx([1.0, 0.0], abs=1e-5)


# ------------------------------------------------------------------ how far it is trusted


def judged(apart, scores, costs):
    return trust(scores, np.tile(costs, (len(scores), 1)), scores.mean(axis=0) + np.zeros_like(apart), apart)


def test_what_helps_to_choose_is_trusted():
    outcomes = table(rows=2000)
    apart = np.where(outcomes.is_code[:, None], [0.3, -0.2, 0.0], [-0.3, 0.2, 0.0])
    assert judged(apart, outcomes.scores, [2.0, 3.0, 1.0]) == 1.0


def test_what_is_noise_is_not():
    rng = np.random.default_rng(5)
    scores = (rng.random((2000, 3)) < [0.5, 0.7, 0.8]).astype(float)
    noise = rng.normal(0.0, 0.3, scores.shape)
    assert judged(noise, scores, [1.0, 3.0, 9.0]) < 0.7
    assert judged(noise, scores, [9.0, 3.0, 1.0]) == 1.0  # the cheapest is the best: nothing to weigh


def spread_of(**more):
    """Return how far models are learned to be apart, more than by their means, of prompts that tell nothing of it."""
    rng, outcomes = np.random.default_rng(6), table(rows=300)
    outcomes.scores = (rng.random((300, 3)) < [0.6, 0.7, 0.8]).astype(float)
    for name, value in more.items():
        setattr(outcomes, name, value)
    qualities = read(ModelFile.parse(trained(outcomes), "").content, "").expected(outcomes.prompts).qualities
    return (qualities - qualities.mean(axis=1, keepdims=True)).std(axis=0).sum()


def test_costs_tell_the_trainer_how_far_to_trust(monkeypatch):
    costs = np.tile([1.0, 3.0, 9.0], (300, 1))
    monkeypatch.setattr(regression, "PENALTIES", np.full(13, 1e-3))  # too small a one: it learns noise
    free = spread_of()
    assert spread_of(costs=costs) < 0.95 * free
    gaps = costs.copy()
    gaps[3, 1] = np.nan
    assert spread_of(costs=gaps) == free


# ------------------------------------------------------------------ lengths of answers


def with_lengths(outcomes, unknown=0.0, seed=0):
    """Code takes some 400 tokens and talk 50, of the idler a tenth of that."""
    rng = np.random.default_rng(seed)
    usual = np.where(outcomes.is_code[:, None], 400.0, 50.0) * [1.0, 1.0, 0.1]
    outcomes.lengths = np.round(usual * np.exp(rng.normal(0.0, 0.2, usual.shape)))
    outcomes.lengths[rng.random(usual.shape) < unknown] = np.nan
    return outcomes


@pytest.fixture(scope="module", params=[0.0, 0.7])
def lengthy(request, tmp_path_factory):
    file = tmp_path_factory.mktemp("model") / "m.model"
    file.write_bytes(trained(with_lengths(table(rows=800), unknown=request.param)))
    return file


def test_the_length_of_an_answer_is_foretold(lengthy):
    """As a mean over the models: 280 tokens for code, 35 for talk."""
    held = table(seed=1)
    told = np.array([ask(lengthy, one, coder="x").output_tokens for one in held.prompts])
    assert np.median(told[held.is_code]) == pytest.approx(280, rel=0.2)
    assert np.median(told[~held.is_code]) == pytest.approx(35, rel=0.35)
    assert np.mean(told) == pytest.approx(np.where(held.is_code, 280, 35).mean(), rel=0.1)


def test_no_more_is_foretold_than_was_asked_for(lengthy):
    def tokens(prompt, **params):
        request = Request(messages=[{"role": "user", "content": prompt}], params=params)
        return estimator(model=lengthy).asyncrouter_estimate(request, group(coder="x")).output_tokens

    code = "def f(x):\n    return x[7] == 9"
    assert tokens(code, max_tokens=20) == 20
    assert tokens(code, max_tokens=5000) == tokens(code) > 100


@pytest.mark.parametrize(("offset", "tokens"), [(-1e6, 1), (1e6, 1_202_604)])
def test_a_length_is_one_token_or_more_and_not_endless(lengthy, tmp_path, offset, tokens):
    model = read(ModelFile.read(lengthy).content, "")
    model = attrs.evolve(model, offsets=np.append(model.offsets[:-1], np.float32(offset)))
    (tmp_path / "m.model").write_bytes(bytes(ModelFile("cost", written(model))))
    assert ask(tmp_path / "m.model", "hi", coder="x").output_tokens == pytest.approx(tokens, rel=1e-4)


@pytest.mark.parametrize("lengths", [None, np.full((400, 3), np.nan)])
def test_without_lengths_none_is_foretold(lengths, tmp_path):
    outcomes = table()
    outcomes.lengths = lengths
    (tmp_path / "m.model").write_bytes(trained(outcomes))
    assert ask(tmp_path / "m.model", "def f", coder="x").output_tokens is None


def test_qualities_are_the_same_with_lengths_and_without(path, tmp_path):
    (tmp_path / "m.model").write_bytes(trained(with_lengths(table())))
    names = dict(zip(MODELS, MODELS, strict=True))
    for prompt in table(seed=1).prompts[:20]:
        alone, both = (ask(one, prompt, **names).qualities for one in (path, tmp_path / "m.model"))
        assert both == pytest.approx(alone)


# ------------------------------------------------------------------ prompts


def test_the_last_words_of_the_user_are_the_prompt():
    said = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]
    assert [prompt_of(said), prompt_of(said[:1]), prompt_of([])] == ["u", "s", ""]


# ------------------------------------------------------------------ wording and doubt


def worded(rows, seed=0):
    """Prompts with about the same traits; a word of three letters tells whether all models are right or none."""
    rng = np.random.default_rng(seed)
    is_easy = rng.random(rows) < 0.5
    names = ["".join(chr(97 + letter) for letter in rng.integers(26, size=9)) for _ in range(rows)]
    prompts = tuple(f"{name} {'kof' if easy else 'fok'} {name}" for name, easy in zip(names, is_easy, strict=True))
    scores = (rng.random((rows, 3)) < np.where(is_easy, 0.9, 0.1)[:, None]).astype(float)
    return outcomes_of(prompts, scores, is_easy=is_easy)


def test_wording_tells_how_hard_a_prompt_is():
    model, held = read(ModelFile.parse(trained(worded(600)), "").content, ""), worded(200, seed=1)
    expected = model.expected(held.prompts).qualities.mean(axis=1)
    assert np.mean((expected > 0.5) == held.is_easy) > 0.9


def ability(gap, rows=1500):
    """Code is easy and talk is in doubt; the second model is better by *gap*, shape (2,): of code, and of talk."""
    outcomes = table(rows=rows, seed=4)
    level = np.where(outcomes.is_code, 0.95, 0.5)[:, None]
    better = np.where(outcomes.is_code, *gap)[:, None] * [-0.5, 0.5, 0.0]
    outcomes.scores = (np.random.default_rng(8).random(better.shape) < level + better).astype(float)
    return outcomes


@pytest.mark.parametrize(("gap", "powers"), [((0.04, 0.4), {0.5, 1.0}), ((0.1, 0.1), {0.0, 0.5})])
def test_models_are_set_apart_by_doubt_as_far_as_it_shows(gap, powers):
    model = read(ModelFile.parse(trained(ability(gap)), "").content, "")
    assert model.power in powers
    expected, is_code = model.expected(table(seed=1).prompts).qualities, table(seed=1).is_code
    differences = expected[:, 1] - expected[:, 0]
    assert differences[is_code].mean() == pytest.approx(gap[0], abs=0.04)
    assert differences[~is_code].mean() == pytest.approx(gap[1], abs=0.08)


# ------------------------------------------------------------------ the file


def test_a_model_is_read_as_it_was_written(path):
    model = read(ModelFile.read(path).content, "")
    again = read(written(model), "")
    assert again.models == model.models == MODELS
    assert (again.weights == model.weights).all()
    assert (again.likeness.landmarks == model.likeness.landmarks).all()


def damaged():
    line, _newline, packed = ModelFile.parse(trained(), "").content.partition(b"\n")
    facts = json.loads(line)
    nan = zlib.compress(np.full(len(zlib.decompress(packed)) // 4, np.nan, dtype="<f4").tobytes())
    huge = {**facts, "shapes": {**facts["shapes"], "offsets": [10**9]}}
    return {
        "nothing": b"",
        "no JSON": b"?\n" + packed,
        "no facts": b"{}\n" + packed,
        "cut off": line + b"\n" + packed[:-200],
        "not packed": line + b"\nnumbers",
        "no numbers": line + b"\n" + nan,
        "too large": json.dumps(huge).encode() + b"\n" + packed,
        "other models": json.dumps({**facts, "models": ["a"]}).encode() + b"\n" + packed,
        "other traits": json.dumps({**facts, "shapes": {**facts["shapes"], "means": [3]}}).encode() + b"\n" + packed,
        "other power": json.dumps({**facts, "power": -1}).encode() + b"\n" + packed,
        "older": json.dumps({key: value for key, value in facts.items() if key != "power"}).encode() + b"\n" + packed,
    }


@pytest.mark.parametrize(("what", "content"), damaged().items())
def test_a_damaged_model_is_told(what, content, tmp_path):
    file = tmp_path / "m.model"
    file.write_bytes(bytes(ModelFile("cost", content)))
    with pytest.raises(ConfigError, match=r"m\.model: is a damaged model, .*; train it again: asyncrouter lab train"):
        estimator(model=file)


def test_what_is_no_model_of_it_is_told(tmp_path):
    file = tmp_path / "m.model"
    file.write_bytes(bytes(ModelFile("semantic", b"")))
    with pytest.raises(ConfigError, match="is a model of the estimator 'semantic'; write use = 'semantic'"):
        estimator(model=file)
    with pytest.raises(ConfigError, match="no-such"):
        estimator(model="no-such.model")
    with pytest.raises(ConfigError, match="expected the path of a model file, not 7"):
        estimator(model=7)


# ------------------------------------------------------------------ in the router


def test_deployments_are_known_by_their_name_or_their_models(path):
    told = ask(path, "def f", coder="x", other="talker", stranger="y")
    assert set(told.qualities) == {"coder", "other"}
    assert told.complexity == pytest.approx(1 - sum(told.qualities.values()) / 2)
    assert ask(path, "def f", stranger="y").qualities == {}


async def test_the_router_sends_each_prompt_to_who_is_good_at_it(path):
    price = {"price": {"input": 1.0, "output": 1.0}}
    options = {"estimate": {"use": "cost", "model": str(path)}, "select": {"use": "cost", "usd_per_quality": 1.0}}
    async with fake_router(deployments=dict.fromkeys(MODELS, price), **options) as router:
        held = table(seed=2)
        for prompt, is_code in zip(held.prompts[:8], held.is_code[:8], strict=True):
            reply = await router.generate(prompt)
            assert reply.deployment == ("coder" if is_code else "talker")
        assert reply.trace.selection.reason.startswith("quality 0.")
