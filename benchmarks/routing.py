"""What learned routing is worth: in-source, transferred, with few labels of one's own, and whether promises hold.

``python benchmarks/routing.py FOLDER --save RESULTS`` runs the commands of the lab below on the files of outcomes in
FOLDER, and writes what each prints to RESULTS, a file for each, which begins with the command.  The whole takes about
half an hour of one core.  ``--only NAME`` runs one of them.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

PAIRS = "routellm_mmlu.parquet routellm_gsm8k.parquet routellm_mtbench.parquet"
LARGE = "routellm_gsm8k.parquet routellm_mmlu.parquet"
SMALL = "routellm_gsm8k.parquet routellm_mtbench.parquet"
CONTINUED = "--learn-from others+own --folds 2 --own-labels 1500"
BOTH = "--learn-from own --learn-from others"
PLOT = "curves.png"
HALVED = "routellm_mmlu.parquet routellm_gsm8k.parquet"
MANY = "llmrouter_9models.parquet routellm_mmlu.parquet"
ALL = f"{PAIRS} llmrouter_9models.parquet mmlupro_29models.parquet zeroeval_18models.parquet"
DRAWS = range(1, 6)
"""Seeds of further draws of folds and labels."""
FRESH = range(6, 12)
"""Seeds of draws by which nothing was chosen."""
FEW = "--learn-from own --folds 2 --own-labels 100 --own-labels 300 --own-labels 1500"
LIMITS = "--own-labels 100 --own-labels 300 --own-labels 1000 --own-labels 1500"
COMMANDS = {
    "in-source": f"lab eval --replicates 200 {LARGE} --trainer semantic --learn-from own",
    "subjects": "lab eval --replicates 200 routellm_mmlu.parquet --trainer semantic --learn-from own --by-group",
    "curves": f"lab eval --replicates 200 {SMALL} --trainer semantic {BOTH} --plot {PLOT}",
    "transfer": f"lab eval --replicates 200 {PAIRS} --trainer semantic --learn-from others",
    "together": f"lab eval --replicates 200 {ALL} --trainer semantic --learn-from together",
    "continued": f"lab eval --replicates 200 {HALVED} --trainer semantic {CONTINUED}",
    **{
        f"continued-{seed}": f"lab eval --replicates 200 --seed {seed} {HALVED} --trainer semantic {CONTINUED}"
        for seed in DRAWS
    },
    **{f"few-{seed}": f"lab eval --replicates 200 --seed {seed} {HALVED} --trainer semantic {FEW}" for seed in FRESH},
    "labels": f"lab eval {HALVED} --trainer semantic --learn-from own --folds 2 {LIMITS}",
    "selectors": f"lab eval --replicates 200 {MANY} --selector round_robin --selector adaptive",
    "floor-mmlu": "lab calibrate routellm_mmlu.parquet --quality 0.76 --check 1000 --check-rows 500",
    "floor-gsm8k": "lab calibrate routellm_gsm8k.parquet --quality 0.78 --check 1000 --check-rows 500",
}


def run(command: str, folder: Path, save: Path) -> str:
    """Return what ``asyncrouter`` prints for *command* in *folder*, after the command; pictures go to *save*."""
    print("asyncrouter", command, flush=True)
    words = [str((save / PLOT).absolute()) if word == PLOT else word for word in shlex.split(command)]
    done = subprocess.run(
        [sys.executable, "-m", "asyncrouter", *words], cwd=folder, check=True, stdout=subprocess.PIPE, text=True
    )
    return f"$ asyncrouter {command}\n{done.stdout}"


def main() -> None:
    """Measure, and write what was printed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where the files of outcomes are")
    parser.add_argument("--save", type=Path, required=True, metavar="RESULTS")
    parser.add_argument("--only", choices=COMMANDS)
    arguments = parser.parse_args()
    for name, command in COMMANDS.items():
        if arguments.only in {None, name}:
            (arguments.save / f"{name}.txt").write_text(
                run(command, arguments.folder, arguments.save), encoding="utf-8"
            )


if __name__ == "__main__":
    main()
