"""Conversations over three models with prompt caches: what they cost with affinity and without.

    python benchmarks/sessions.py [--conversations N] [--seed N] [--json] [--plot FILE.png]

The real router runs on virtual time over a provider in memory that keeps a prompt cache for each deployment as OpenAI
describes its own: beginnings from 1024 tokens on, in steps of 128, for five minutes after the last use; cached tokens
are told in the usage and priced so.  Conversations begin with one of four system prompts and are easy, middling or hard
for a stretch.  What the policies see of that is the same for all, and noisy, as estimates are.  Nothing here says how
good an answer is: "strong enough" is the share of requests that went to a model of the tier that their stretch asks
for, or above.  Each policy is run with six pairs of cut points, so that its cost can be read at the same such share.
Then the same conversations over three regions of one model, each in turn.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from asyncrouter import Router
from asyncrouter.testing import FakeProvider, Reply, run_virtual
from asyncrouter.types.response import Usage

CLAUDE = {
    "haiku": {"input": 1.0, "cached_input": 0.10, "output": 5.0},
    "sonnet": {"input": 3.0, "cached_input": 0.30, "output": 15.0},
    "opus": {"input": 5.0, "cached_input": 0.50, "output": 25.0},
}
"""List prices of the 4.5 models in US dollars per million tokens, weakest first: five times from end to end."""
GPT = {
    "nano": {"input": 0.10, "cached_input": 0.025, "output": 0.40},
    "mini": {"input": 0.40, "cached_input": 0.10, "output": 1.60},
    "full": {"input": 2.00, "cached_input": 0.50, "output": 8.00},
}
"""List prices of the 4.1 models: twenty times from end to end."""
LEVELS, OFTEN = (0.2, 0.55, 0.9), (6, 3, 1)
"""How hard a stretch is, and how often each."""
CUTS = (0.4, 0.75)
SHIFTS = (-0.25, -0.15, -0.05, 0.05, 0.15, 0.25)
"""What the policies add to both cut points."""
NOISE = 0.2
TTL_S, SHORTEST, STEP = 300.0, 1024, 128
CHARACTERS = 4
POLICIES: Mapping[str, Mapping[str, Any]] = {
    "each request by itself": {},
    "affinity": {"affinity": {}},
    "affinity, ahead = 0": {"affinity": {"ahead": 0}},
    "affinity, ease = 2": {"affinity": {"ease": 2}},
    "affinity, ease = 1": {"affinity": {"ease": 1}},
}


@attrs.frozen(kw_only=True)
class Kind:
    """A kind of conversation: its models, the medians of its texts in tokens, its mean turns and pauses."""

    prices: Mapping[str, Mapping[str, float]]
    system_tokens: tuple[int, ...]
    user_tokens: float
    output_tokens: float
    turns: float
    pause_s: float


KINDS: Mapping[str, Kind] = {
    "chat, Claude 4.5": Kind(
        prices=CLAUDE, system_tokens=(500, 2000, 3500, 5000), user_tokens=150, output_tokens=150, turns=10, pause_s=45
    ),
    "agent, Claude 4.5": Kind(
        prices=CLAUDE, system_tokens=(4000, 8000), user_tokens=700, output_tokens=120, turns=20, pause_s=15
    ),
    "agent, GPT-4.1": Kind(
        prices=GPT, system_tokens=(4000, 8000), user_tokens=700, output_tokens=120, turns=20, pause_s=15
    ),
}


@attrs.frozen
class Turn:
    """One request of a conversation: its text, how hard it is, how hard it looks, the answer's tokens, the pause."""

    text: str
    level: float
    complexity: float
    output_tokens: int
    pause_s: float


def conversation(kind: Kind, chance: random.Random) -> tuple[str, list[Turn]]:
    """Draw a conversation: its system prompt, and its turns."""
    tokens = chance.choice(kind.system_tokens)
    level, turns = chance.choices(LEVELS, OFTEN)[0], []
    while not turns or chance.random() < 1 - 1 / kind.turns:
        if chance.random() < 0.15:
            level = chance.choices(LEVELS, OFTEN)[0]
        complexity = min(1.0, max(0.0, chance.gauss(level, NOISE)))
        length = int(CHARACTERS * kind.user_tokens * chance.lognormvariate(0.0, 1.0))
        output_tokens = int(kind.output_tokens * chance.lognormvariate(0.0, 0.7))
        text = f"{chance.random()}" + "u" * length
        turns.append(Turn(text, level, complexity, output_tokens, chance.expovariate(1 / kind.pause_s)))
    return f"{tokens}: " + "s" * (CHARACTERS * tokens), turns


class CachingUpstream:
    """A provider whose deployments remember the beginnings that they have read."""

    def __init__(self) -> None:
        self.provider = FakeProvider(self._answer)
        self.read: dict[tuple[str, int], float] = {}
        self.calls: list[tuple[int, int]] = []

    def _answer(self, request: Any, deployment: Any, _number: int) -> Reply:
        now = asyncio.get_running_loop().time()
        text = "\n".join(message["content"] for message in request.messages)
        tokens, cached, digest = len(text) // CHARACTERS, 0, 0
        for end in range(STEP, tokens + 1, STEP):
            digest = hash((digest, text[(end - STEP) * CHARACTERS : end * CHARACTERS]))
            if now - self.read.get((deployment.name, digest), -TTL_S - 1) <= TTL_S and end >= SHORTEST:
                cached = end
            self.read[deployment.name, digest] = now
        output_tokens = request.metadata["output_tokens"]
        self.calls.append((tokens, cached))
        usage = Usage(input_tokens=tokens, output_tokens=output_tokens, cached_input_tokens=cached)
        return Reply("a" * (CHARACTERS * output_tokens), usage=usage)


@attrs.frozen(kw_only=True)
class Result:
    """What one policy did with one kind of conversation, its cut points shifted.

    ``cached``: the share of input tokens that came from a cache; ``switches``: changes of the model in a conversation;
    ``by_tier``: the share of requests that each model answered, weakest first; ``strong_enough``: see the module.
    """

    kind: str
    policy: str
    shift: float
    cost_usd: float
    cached: float
    switches: float
    by_tier: tuple[float, ...]
    strong_enough: float


@attrs.frozen(kw_only=True)
class Held:
    """What came of the conversations: cost, calls as input tokens and those of them from a cache, who answered."""

    cost_usd: float
    calls: Sequence[tuple[int, int]]
    answered: Sequence[Sequence[tuple[float, str]]]

    @property
    def cached(self) -> float:
        """The share of input tokens that came from a cache."""
        return sum(cached for _, cached in self.calls) / sum(tokens for tokens, _ in self.calls)

    @property
    def switches(self) -> float:
        """Changes of the deployment in a conversation."""
        pairs = (pair for one in self.answered for pair in itertools.pairwise(one))
        return sum(a[1] != b[1] for a, b in pairs) / len(self.answered)


async def hold(
    kind: str, deployments: Mapping[str, Mapping[str, Any]], group: Mapping[str, Any], conversations: int, seed: int
) -> Held:
    """Hold the conversations, each in its own time, in one group of *deployments*."""
    upstream = CachingUpstream()
    config = {
        "providers": {"fake": upstream.provider},
        "deployments": {name: {"provider": "fake", **one} for name, one in deployments.items()},
        "groups": {"chat": {"deployments": list(deployments), **group}},
    }
    chance = random.Random(seed)  # noqa: S311 - a seed repeats the run
    drawn = [(conversation(KINDS[kind], chance), chance.uniform(0, 3600)) for _ in range(conversations)]
    async with Router.from_config(config, seed=seed) as router:
        async with asyncio.TaskGroup() as tasks:
            held = [tasks.create_task(_converse(router, *one)) for one in drawn]
        cost_usd = router.metrics().total.cost_usd
    return Held(cost_usd=cost_usd, calls=upstream.calls, answered=[task.result() for task in held])


async def run(kind: str, policy: str, shift: float, conversations: int, seed: int) -> Result:
    """Hold the conversations under one policy over three models."""
    prices = KINDS[kind].prices
    deployments = {name: {"model": name, "price": price} for name, price in prices.items()}
    select = {"use": "complexity", "cuts": [cut + shift for cut in CUTS]}
    held = await hold(kind, deployments, {"select": select, **POLICIES[policy]}, conversations, seed)
    tiers = [(level, list(prices).index(name)) for one in held.answered for level, name in one]
    return Result(
        kind=kind,
        policy=policy,
        shift=shift,
        cost_usd=held.cost_usd,
        cached=held.cached,
        switches=held.switches,
        by_tier=tuple(sum(tier == place for _, tier in tiers) / len(tiers) for place in range(len(prices))),
        strong_enough=sum(tier >= sum(level >= cut for cut in CUTS) for level, tier in tiers) / len(tiers),
    )


async def run_regions(kind: str, policy: str, conversations: int, seed: int) -> Held:
    """Hold the conversations over three deployments of one model, each in turn."""
    model, price = list(KINDS[kind].prices.items())[1]
    deployments = {f"region-{number}": {"model": model, "price": price} for number in range(3)}
    return await hold(kind, deployments, {"select": "round_robin", **POLICIES[policy]}, conversations, seed)


async def _converse(router: Router, conversation: tuple[str, list[Turn]], start: float) -> list[tuple[float, str]]:
    """Hold one conversation; return how hard each request was and who answered it."""
    await asyncio.sleep(start)
    system, turns = conversation
    answered: list[tuple[float, str]] = []
    messages = [{"role": "system", "content": system}]
    for turn in turns:
        await asyncio.sleep(turn.pause_s)
        messages = [*messages, {"role": "user", "content": turn.text}]
        metadata = {"output_tokens": turn.output_tokens}
        reply = await router.generate(messages, complexity=turn.complexity, metadata=metadata)
        answered.append((turn.level, reply.deployment))
        messages = [*messages, {"role": "assistant", "content": reply.text}]
    return answered


def cost_at(results: Sequence[Result], strong_enough: float) -> float | None:
    """Return the cost of a policy at that share, between two of its runs; ``None`` outside of them."""
    ordered = sorted(results, key=lambda one: one.strong_enough)
    for low, high in itertools.pairwise(ordered):
        if low.strong_enough <= strong_enough <= high.strong_enough:
            part = (strong_enough - low.strong_enough) / max(high.strong_enough - low.strong_enough, 1e-12)
            return low.cost_usd + part * (high.cost_usd - low.cost_usd)
    return None


DRAWN = {"each request by itself": "o-", "affinity, ease = 1": "s:", "affinity": "D--"}
"""The policies in the plot, and how."""
AT = (0.95, 0.97, 0.99)


def rows(results: Sequence[Result]) -> Iterator[str]:
    """Yield a Markdown table: what each policy costs at the same shares, and what it does in the middle of its runs."""
    heads = " | ".join(f"USD at {share:.0%}" for share in AT)
    yield f"| conversations | policy | {heads} | input cached | switches a conversation |"
    yield f"|{'---|' * (len(AT) + 4)}"
    for (kind, policy), runs in itertools.groupby(results, key=lambda one: (one.kind, one.policy)):
        of_policy = list(runs)
        plain = [one for one in results if (one.kind, one.policy) == (kind, next(iter(POLICIES)))]
        costs = [(cost_at(of_policy, share), cost_at(plain, share)) for share in AT]
        told = " | ".join(
            "-" if cost is None else f"{cost:.2f}" + (f" ({cost / base - 1:+.0%})" if base and cost != base else "")
            for cost, base in costs
        )
        middle = of_policy[len(of_policy) // 2]
        yield f"| {kind} | {policy} | {told} | {middle.cached:.0%} | {middle.switches:.2f} |"


def region_rows(held: Mapping[tuple[str, str], Held]) -> Iterator[str]:
    """Yield a Markdown table of the runs over three regions, by kind of conversation and policy."""
    yield "| three regions of one model, each in turn | policy | USD | input cached | switches a conversation |"
    yield "|---|---|---|---|---|"
    for (kind, policy), one in held.items():
        base = held[kind, next(iter(POLICIES))].cost_usd
        change = "" if one.cost_usd == base else f" ({one.cost_usd / base - 1:+.0%})"
        yield f"| {kind} | {policy} | {one.cost_usd:.2f}{change} | {one.cached:.0%} | {one.switches:.2f} |"


def plot(results: Sequence[Result], path: Path) -> None:
    """Draw for each kind of conversation the cost of the policies over the share that was strong enough."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.6), layout="constrained")
    for axes, kind in zip(figure.subplots(1, len(KINDS)), KINDS, strict=True):
        for policy, style in DRAWN.items():
            runs = [one for one in results if (one.kind, one.policy) == (kind, policy)]
            points = [(100 * one.strong_enough, one.cost_usd) for one in runs]
            axes.plot(*zip(*points, strict=True), style, markersize=4, label=policy)
        axes.set(title=kind, xlabel="strong enough, % of requests", ylim=(0, None), xlim=(72, 101))
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("US dollars")
    figure.axes[0].legend(loc="lower right", fontsize=8)
    figure.savefig(path, dpi=140)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--conversations", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    regions = {
        (kind, policy): run_virtual(run_regions, kind, policy, options.conversations, options.seed)
        for kind, policy in itertools.product(KINDS, list(POLICIES)[:2])
    }
    results = []
    for kind, policy, shift in itertools.product(KINDS, POLICIES, SHIFTS):
        print(f"{kind}: {policy}, cut points {shift:+.2f}", file=sys.stderr)
        results.append(run_virtual(run, kind, policy, shift, options.conversations, options.seed))
    if options.plot:
        plot(results, options.plot)
    if options.json:
        told = [{"kind": kind, "policy": policy, "cost_usd": one.cost_usd, "cached": one.cached}
                for (kind, policy), one in regions.items()]  # fmt: skip
        print(json.dumps({"models": [attrs.asdict(one) for one in results], "regions": told}))
    else:
        print("\n".join([*rows(results), "", *region_rows(regions)]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
