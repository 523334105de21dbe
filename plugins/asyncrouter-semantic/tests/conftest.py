"""Outcomes with a rule in them: proofs gain from the strong model, the longer the more; greetings gain nothing."""

from __future__ import annotations

import numpy as np
import pytest
from asyncrouter_semantic.model import NO_PRIOR, Model
from asyncrouter_semantic.packing import unpacked
from asyncrouter_semantic.training import boosting
from asyncrouter_semantic.training.trainer import SemanticTrainer

from asyncrouter.lab.outcomes import Outcomes
from asyncrouter.types.model_file import ModelFile

SUBJECTS = ("primes", "graphs", "lattices", "groups", "fields", "knots")


def made(rows=240, seed=0):
    random = np.random.default_rng(seed)
    prompts, scores = [], []
    for row in range(rows):
        hard = bool(random.integers(2))
        noise = " ".join(random.choice(["please", "now", "kindly", "today", "again"], 3))
        subject = SUBJECTS[random.integers(len(SUBJECTS))]
        prompts.append(
            f"prove a theorem about {subject} {noise} {row}" if hard else f"say hello to {subject} {noise} {row}"
        )
        chance = np.array([0.9, 0.3, 0.6]) if hard else np.array([0.9, 0.9, 0.9])
        scores.append((random.random(3) < chance).astype(float))
    return Outcomes(
        ids=tuple(map(str, range(rows))),
        prompts=tuple(prompts),
        groups=tuple("proof" if prompt.startswith("prove") else "greeting" for prompt in prompts),
        sources=("made-up",) * rows,
        models=("big", "small", "vendor/Middle-2024-01-01"),
        scores=np.array(scores),
        strong="big",
        weak="small",
    )


def loaded(content):
    return Model.of(unpacked(ModelFile.parse(content, "here").content, "here"), "here")


@pytest.fixture(scope="session", autouse=True)
def few_trees():
    """Grow a tenth of the trees: the rule is simple, and a dozen models are made."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(boosting, "TREES", 30)
        yield


@pytest.fixture(scope="session")
def outcomes():
    """Return the function that makes outcomes."""
    return made


@pytest.fixture(scope="session")
def read():
    """Return the function that makes a model of a file's content."""
    return loaded


@pytest.fixture(scope="session")
def content():
    return SemanticTrainer(prior=NO_PRIOR).train(made(), seed=0)


@pytest.fixture(scope="session")
def model_path(content, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "own.model"
    path.write_bytes(content)
    return path
