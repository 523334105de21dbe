"""``lab eval`` as a function: estimators as they came and trainers put to the test, on one file or several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs

from asyncrouter.lab.estimates import NamedEstimator
from asyncrouter.lab.evaluation.bootstrap import Resampling
from asyncrouter.lab.evaluation.many import ManyModels, many_models, measure_many
from asyncrouter.lab.evaluation.measuring import Measures, PairRows, measure_pair, pair_rows
from asyncrouter.lab.evaluation.points import measure_played
from asyncrouter.lab.evaluation.scored import ORACLE, Reading, Scored, score_file
from asyncrouter.lab.evaluation.trials import Trial, run_trial
from asyncrouter.lab.outcomes.files import Progress
from asyncrouter.lab.outcomes.loading import load
from asyncrouter.lab.training import NamedTrainer


@attrs.frozen(kw_only=True)
class Evaluated:
    """One file: its scored rows, and the measures of each name, those of many models among them where it has any."""

    file: str
    scored: Scored
    rows: PairRows
    many: ManyModels | None
    measures: Mapping[str, Measures]


def score_files(
    files: Sequence[Path], estimators: Sequence[NamedEstimator], reading: Reading, progress: Progress
) -> dict[Path, Scored]:
    """Return what *estimators* and baselines say of the rows of each of *files*."""
    scored = {}
    for done, file in enumerate(files):

        def part(share: float, done: int = done) -> None:
            progress((done + share) / len(files))

        scored[file] = score_file(file, estimators, reading, part)
    return scored


def add_trial(
    scored: Mapping[Path, Scored], trainer: NamedTrainer, trial: Trial, reading: Reading, progress: Progress
) -> dict[Path, Scored]:
    """Return *scored* with what models of *trainer* say that were trained as *trial* tells."""
    tables = [load(file, strong=reading.strong, weak=reading.weak, prices=reading.prices) for file in scored]
    said = run_trial(trainer, trial, tables, progress)
    name = f"{trainer.name}:{trial.label}"
    return {
        file: one.also(name, answers.estimates, trial.learned, answers.seen)
        for (file, one), answers in zip(scored.items(), said, strict=True)
    }


def measure(scored: Mapping[Path, Scored], resampling: Resampling, progress: Progress) -> tuple[Evaluated, ...]:
    """Return the measures of each file."""
    evaluated = []
    for stream, (file, one) in enumerate(scored.items()):
        rows, many = pair_rows(one, str(file), stream), many_models(one)
        measures = {name: measure_pair([rows], name, resampling) for name in rows.scores}
        selectors = {name: measure_played(one, played, resampling, stream) for name, played in one.played.items()}
        oracle = measures.pop(ORACLE)
        measures = {**measures, **selectors, ORACLE: oracle}
        if many is not None:
            measures = {
                name: {**pair, **measure_many(many, name, resampling, stream)} for name, pair in measures.items()
            }
        evaluated.append(Evaluated(file=str(file), scored=one, rows=rows, many=many, measures=measures))
        progress((stream + 1) / len(scored))
    return tuple(evaluated)
