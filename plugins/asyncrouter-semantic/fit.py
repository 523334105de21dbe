"""Fit the model that comes with the plugin: ``OMP_NUM_THREADS=1 python fit.py FILE...``.

The same files give the same bytes, on the same processor and with the same numpy; several threads would add in another
order, which changes last digits.  Files of outcomes are read as by ``asyncrouter lab train``, and the model is what
that command would write with ``--prior none``; kept apart, as this one is what the plugin ships.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import attrs
from asyncrouter_semantic.model import NO_PRIOR, SHIPPED
from asyncrouter_semantic.training.trainer import SemanticTrainer

from asyncrouter.lab.outcomes import concat, load
from asyncrouter.lab.outcomes.table import digest
from asyncrouter.types.model_file import ModelFile


def fitted(paths: Sequence[Path]) -> bytes:
    """Return the model file that the outcomes at *paths* teach."""
    outcomes = concat([load(path) for path in paths])
    made = ModelFile.parse(SemanticTrainer(prior=NO_PRIOR).train(outcomes, seed=0), "fit.py")
    return bytes(attrs.evolve(made, learned_from=map(digest, outcomes.prompts)))


def main() -> None:
    """Read the files, fit, write."""
    parser = argparse.ArgumentParser(description="Fit the model that comes with asyncrouter-semantic.")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="outcomes: parquet, JSON lines or CSV")
    parser.add_argument("--out", type=Path, default=SHIPPED)
    arguments = parser.parse_args()
    made = fitted(arguments.files)
    arguments.out.write_bytes(made)
    print(f"{arguments.out}: {len(made):,} bytes")


if __name__ == "__main__":
    main()
