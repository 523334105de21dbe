"""Scores of the prompts of a file, written as they come: memory holds some thousands of prompts, whatever the file."""

from __future__ import annotations

import csv
from pathlib import Path

from asyncrouter.lab.estimates import NamedEstimator
from asyncrouter.lab.outcomes.files import Progress, ignored
from asyncrouter.lab.outcomes.loading import read_prompts
from asyncrouter.types.errors import ConfigError


def write_scores(file: Path, estimator: NamedEstimator, out: Path, progress: Progress = ignored) -> int:
    """Write ``id,score`` for each prompt of *file* to *out*, in the order of the file; return how many there are.

    The score is the estimate's complexity, in [0, 1].  *progress* is told the share of the file that is done.
    Raises :class:`ConfigError` naming file, row and column; then *out* is left as it was.
    """
    partial = out.with_name(f"{out.name}.part")
    written = 0
    try:
        with partial.open("w", encoding="utf-8", newline="") as target:
            writer = csv.writer(target, lineterminator="\n")
            writer.writerow(("id", "score"))
            for batch in read_prompts(file, progress):
                scores = estimator.ask(batch.prompts).complexities
                writer.writerows(zip(batch.ids, map(repr, map(float, scores)), strict=True))
                written += len(scores)
        partial.replace(out)
    except OSError as error:
        raise ConfigError(f"{out}: {error.strerror}; choose another place for --out") from error
    finally:
        partial.unlink(missing_ok=True)
    return written
