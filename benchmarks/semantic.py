"""What one estimate of the plugin ``semantic`` costs, by length of the prompt: microseconds of processor time.

Prompts of mixed sentences, each different, so that nothing is remembered.  Run it as
``python benchmarks/semantic.py [--model MODEL] [--rounds N]``.
"""

from __future__ import annotations

import argparse
import random
import re
import statistics
import time

from asyncrouter_semantic.estimator import SemanticEstimator

from asyncrouter import Deployment, ModelGroup, Request

WORDS = re.findall(
    r"\w+",
    "the of and a to in is that it was for on are with as his they at be this from have or by one had not but what all "
    "were when we there can an your which their said if do will each about how up out them then she many some so these "
    "would other into has more her two like him see time could no make than first been its who now people my made over "
    "did down only way find use may water long little very after words called just where most know pressure theorem",
)
SIZES = {"10 words": 10, "100 tokens": 75, "1,000 tokens": 750, "10,000 tokens": 7500}
MEGABYTE = 1_000_000


def prompt(words: int, chance: random.Random) -> str:
    """Return a text of so many *words*, with numbers and stops among them."""
    drawn = [chance.choice(WORDS) if chance.random() < 0.95 else str(chance.randrange(1000)) for _ in range(words)]
    return ". ".join(" ".join(drawn[at : at + 15]) for at in range(0, words, 15)) + "?"


def spent(estimator: SemanticEstimator, group: ModelGroup, text: str) -> float:
    """Return the microseconds of processor time that one estimate of *text* takes."""
    request = Request(messages=({"role": "user", "content": text},))
    before = time.process_time_ns()
    estimator.asyncrouter_estimate(request, group)
    return (time.process_time_ns() - before) / 1e3


def main(model: str, rounds: int) -> None:
    before = time.process_time()
    estimator = SemanticEstimator(model=model)
    print(f"reading the model: {(time.process_time() - before) * 1e3:.0f} ms")
    names = ("gpt-4o", "gpt-4o-mini", "claude-3-5-haiku")
    group = ModelGroup(name="g", deployments=tuple(Deployment(name=one, provider="p", model=one) for one in names))
    chance = random.Random(0)  # noqa: S311 - prompts to measure with
    cases = {name: [prompt(words, chance) for _ in range(rounds)] for name, words in SIZES.items()}
    few = max(3, rounds // 50)
    cases["1 MB of words"] = [prompt(MEGABYTE // 5, chance) for _ in range(few)]
    cases["1 MB of one letter"] = ["a" * MEGABYTE] * few
    cases["1 MB of Chinese"] = ["證明有無限多個質數。" * (MEGABYTE // 10)] * few
    print(f"{'prompt':<20} {'median us':>10} {'p95 us':>10}")
    for name, texts in cases.items():
        figures = sorted(spent(estimator, group, text) for text in texts)
        print(f"{name:<20} {statistics.median(figures):>10.0f} {figures[int(0.95 * (len(figures) - 1))]:>10.0f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="default", help="the path of a model file (the shipped one)")
    parser.add_argument("--rounds", type=int, default=500, help="prompts of each length (500)")
    arguments = parser.parse_args()
    main(arguments.model, arguments.rounds)
