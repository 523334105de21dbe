"""Choosing among many models by learned qualities: cost and quality beside each model alone, over several seeds.

Each row of FILE is judged by a model of the trainer that has not learned from its prompt (five parts, one held out at a
time), with another split for each seed.  A call goes to the highest expected quality less what its cost is worth.
The cost expected is that of the prompt, and for the answer the model's mean, as much longer or shorter as the trained
model foretells; the costs counted are each answer's own.  Told are

- AIQ: the mean height of the cost-quality frontier between the cheapest model's cost and the best one's, beside that
  of a random mix of the models, which is the frontier of the models alone;
- cost at best: what the quality of the best single model costs, read off that frontier, as a part of that model's
  cost;
- the same if the cost of each answer were known beforehand, which nobody knows: what forecasts of lengths could bring;
- the same held out: the price of quality is chosen on one half of the prompts and put to the test on the other, so
  nothing is read off the rows that it was chosen on.

Run it as ``python benchmarks/n_models.py FILE... [--prices P.json] [--trainer cost] [--seeds 5] [--save DIR]``; DIR
gets ``n_models.json``, ``n_models.md`` and ``n_models.png``.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from measuring import progress

from asyncrouter.lab.evaluation.frontier import Frontier, by_expected_quality, foreseen, frontier
from asyncrouter.lab.evaluation.trials import Trial, run_trial
from asyncrouter.lab.outcomes import Outcomes, load
from asyncrouter.lab.outcomes.prices import load_prices, prices_beside
from asyncrouter.lab.training import NamedTrainer

FOLDS = 5
WANTED = 0.70
"""Cost at best that is to be reached."""


@attrs.frozen(kw_only=True)
class Seed:
    """One seed's figures; ``held_out_quality`` is the router's less the best single model's, on the other half."""

    seed: int
    aiq: float
    cost_at_best: float
    costs_known: float
    held_out_cost: float
    held_out_quality: float
    line: Frontier = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class Result:
    """What one file came to."""

    file: str
    rows: int
    models: tuple[str, ...]
    costs: tuple[float, ...]
    qualities: tuple[float, ...]
    random_aiq: float
    price_slope: tuple[float, float, float] | None
    seeds: tuple[Seed, ...]

    def mean(self, name: str) -> float:
        """Return the mean over the seeds; ``nan`` where one has none."""
        return float(np.mean([getattr(one, name) for one in self.seeds]))


def priced(path: Path, prices: Path | None) -> Outcomes:
    """Return the rows of *path* on which every model with a price is known."""
    table = load(path, prices=prices)
    if table.costs is None:
        raise SystemExit(f"{path}: no price of any model; give --prices")
    with_price = ~np.isnan(table.costs).all(axis=0)
    known = ~np.isnan(table.scores[:, with_price]).any(axis=1)
    return table.rows(np.flatnonzero(known)).of_models(np.flatnonzero(with_price))


def measure(path: Path, prices: Path | None, trainer: str, seeds: int) -> Result:
    """Return the figures of the file at *path*."""
    table = priced(path, prices)
    costs, qualities = table.costs.mean(axis=0), table.scores.mean(axis=0)
    singles = frontier(costs, qualities)
    low, high = float(singles.costs[0]), float(singles.costs[-1])
    results = []
    for seed in range(seeds):
        progress(f"{path.name}: seed {seed + 1} of {seeds}")
        (said,) = run_trial(NamedTrainer(trainer), Trial(learn_from="own", folds=FOLDS, seed=seed), [table])
        expected = said.estimates.qualities
        paid, gained = points(table, expected, foreseen(table.costs, table.answer_costs, said.estimates.output_tokens))
        line, best = line_of(paid, gained), float(singles.qualities[-1])
        cost, gain = held_out(table, paid, gained, seed)
        results.append(
            Seed(
                seed=seed,
                aiq=line.mean_height(low, high),
                cost_at_best=line.cost_of(best) / high,
                costs_known=line_of(*points(table, expected, table.costs)).cost_of(best) / high,
                held_out_cost=cost,
                held_out_quality=gain,
                line=line,
            )
        )
    return Result(
        file=path.name,
        rows=len(table),
        models=table.models,
        costs=tuple(costs.tolist()),
        qualities=tuple(qualities.tolist()),
        random_aiq=singles.mean_height(low, high),
        price_slope=slope(table, prices or prices_beside(path)),
        seeds=tuple(results),
    )


def line_of(paid: Any, gained: Any) -> Frontier:
    """Return the frontier of points that rows add to, shape (points, rows)."""
    return frontier(paid.mean(axis=1), gained.mean(axis=1))


def points(table: Outcomes, expected: Any, costs: Any) -> tuple[Any, Any]:
    """Return what each row costs and gains at each price of quality, shape (points, rows), with *costs* expected."""
    mix = by_expected_quality(expected, costs)
    return np.einsum("prm,rm->pr", mix, table.costs), np.einsum("prm,rm->pr", mix, table.scores)


def held_out(table: Outcomes, paid: Any, gained: Any, seed: int) -> tuple[float, float]:
    """Return cost and quality, beside the best single model, at a price of quality chosen on the other half."""
    half = np.random.default_rng(seed).permutation(len(table)) % 2
    costs, gains = [], []
    for tested in (0, 1):
        chosen_on, held = half != tested, half == tested
        best = int(table.scores[chosen_on].mean(axis=0).argmax())
        reaching = gained[:, chosen_on].mean(axis=1) >= table.scores[chosen_on, best].mean()
        within = np.where(reaching, paid[:, chosen_on].mean(axis=1), np.inf)
        point = int(within.argmin()) if reaching.any() else int(gained[:, chosen_on].mean(axis=1).argmax())
        costs.append(paid[point, held].mean() / table.costs[held, best].mean())
        gains.append(gained[point, held].mean() - table.scores[held, best].mean())
    return float(np.mean(costs)), float(np.mean(gains))


def slope(table: Outcomes, prices: Path | None) -> tuple[float, float, float] | None:
    """Return intercept, slope and correlation of the logit of mean quality over log10 of the mean price."""
    if prices is None:
        return None
    known = load_prices(prices)
    x = np.log10([(known[model].input + known[model].output) / 2 for model in table.models])
    quality = np.clip(table.scores.mean(axis=0), 0.001, 0.999)
    y = np.log(quality / (1 - quality))
    gradient, level = np.polyfit(x, y, 1)
    return float(level), float(gradient), float(np.corrcoef(x, y)[0, 1])


# ------------------------------------------------------------------ what is told


def markdown(results: Sequence[Result]) -> str:
    """Return the tables: the means of all seeds, then each of them."""
    lines = [
        "| file | models | AIQ | random mix | least gain | cost at best | costs known | held out: cost | gain |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for one in results:
        least = min(seed.aiq for seed in one.seeds) - one.random_aiq
        lines.append(
            f"| {one.file} | {len(one.models)} | {one.mean('aiq'):.4f} | {one.random_aiq:.4f} | {least:+.4f} "
            f"| {percent(one.mean('cost_at_best'))} | {percent(one.mean('costs_known'))} "
            f"| {percent(one.mean('held_out_cost'))} "
            f"| {one.mean('held_out_quality'):+.4f} |"
        )
    lines += [
        "",
        "| file | seed | AIQ | cost at best | costs known | held out: cost | quality |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {one.file} | {seed.seed} | {seed.aiq:.4f} | {percent(seed.cost_at_best)} "
        f"| {percent(seed.costs_known)} | {percent(seed.held_out_cost)} "
        f"| {seed.held_out_quality:+.4f} |"
        for one in results
        for seed in one.seeds
    ]
    for one in results:
        if one.price_slope is not None:
            level, gradient, correlation = one.price_slope
            lines += ["", f"{one.file}: logit of quality = {level:.2f} + {gradient:.2f} log10(USD per million tokens),"]
            lines += [f"correlation {correlation:.2f} over {len(one.models)} models."]
    return "\n".join(lines) + "\n"


def percent(value: float) -> str:
    """Return *value* in per cent; a dash where the quality is never reached."""
    return "-" if math.isnan(value) else f"{value:.1%}"


def document(results: Sequence[Result], trainer: str) -> dict[str, Any]:
    """Return everything as a JSON document; ``null`` is a quality that is never reached."""
    files = [
        {
            **attrs.asdict(one, filter=lambda field, _value: field.name not in {"line", "seeds"}),
            "aiq": one.mean("aiq"),
            "cost_at_best": number(one.mean("cost_at_best")),
            "reaches": one.mean("cost_at_best") <= WANTED,
            "above_random_in_every_seed": all(seed.aiq > one.random_aiq for seed in one.seeds),
            "seeds": [
                {field.name: number(getattr(seed, field.name)) for field in attrs.fields(Seed) if field.name != "line"}
                for seed in one.seeds
            ],
        }
        for one in results
    ]
    return {"trainer": trainer, "folds": FOLDS, "wanted_cost_at_best": WANTED, "files": files}


def number(value: float) -> float | None:
    """Return *value* as JSON knows it."""
    return None if math.isnan(value) else value


def plot(results: Sequence[Result], path: Path) -> None:
    """Draw a panel for each file: each model alone, their frontier, and that of each seed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.0 * len(results), 4.6), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, one in zip(figure.subplots(1, len(results), squeeze=False)[0], results, strict=True):
        costs, qualities = 1000 * np.array(one.costs), np.array(one.qualities)
        singles = frontier(costs, qualities)
        right = 1.15 * float(singles.costs[-1])
        for seed in one.seeds:
            label = "by learned quality, one line a seed" if seed is one.seeds[0] else None
            ends = np.append(1000 * seed.line.costs, right), np.append(seed.line.qualities, seed.line.qualities[-1])
            axes.plot(*ends, color="#0072B2", lw=1, alpha=0.7, label=label)
        axes.plot(singles.costs, singles.qualities, color="#D55E00", ls="--", label="random mix of the models")
        axes.plot(costs, qualities, "o", color="#555555", ms=4, label="a model alone")
        axes.axhline(float(singles.qualities[-1]), color="#999999", lw=0.8, ls=":")
        bottom = float(singles.qualities[0])
        axes.set_xlim(0, right)
        axes.set_ylim(bottom - 0.02, max(seed.line.qualities[-1] for seed in one.seeds) + 0.02)
        axes.set_title(f"{one.file}: {len(one.models)} models, {one.rows:,} prompts", loc="left", fontsize=10)
        axes.set_xlabel("US dollars for a thousand calls")
        axes.set_ylabel("mean quality")
        axes.grid(visible=True, alpha=0.3)
        axes.legend(loc="lower right", fontsize=8, frameon=False)
    figure.savefig(path)


def main() -> None:
    """Measure, tell, and save."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--prices", type=Path, help="by default NAME_prices.json beside NAME_….parquet")
    parser.add_argument("--trainer", default="cost")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--save", type=Path, metavar="DIR")
    given = parser.parse_args()
    results = [measure(file, given.prices, given.trainer, given.seeds) for file in given.files]
    progress("")
    print(markdown(results))
    if given.save is not None:
        given.save.mkdir(parents=True, exist_ok=True)
        (given.save / "n_models.md").write_text(markdown(results), encoding="utf-8")
        text = json.dumps(document(results, given.trainer), indent=1)
        (given.save / "n_models.json").write_text(text + "\n", encoding="utf-8")
        plot(results, given.save / "n_models.png")


if __name__ == "__main__":
    main()
