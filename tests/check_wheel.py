"""Hold a built wheel against the version-controlled tree: ``python tests/check_wheel.py WHEEL``.

Everything in the wheel must be a file of ``asyncrouter/`` exactly as it is in the tree, or the wheel's own metadata;
every such file of the tree must be there, and nothing that runs by being installed (``.pth``).
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
METADATA = {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"}


def faults(wheel: Path) -> list[str]:
    """Return what is wrong with *wheel*, one line a fault."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "asyncrouter"],  # noqa: S607 (whichever git checked the tree out)
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    tree = set(filter(None, listed.split("\0")))
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
        package = {name for name in names if name.startswith("asyncrouter/")}
        found = [f"{name}: in the wheel, not in the tree" for name in sorted(package - tree)]
        found += [f"{name}: in the tree, not in the wheel" for name in sorted(tree - package)]
        found += [
            f"{name}: differs from the tree"
            for name in sorted(package & tree)
            if archive.read(name) != (ROOT / name).read_bytes()
        ]
    for name in sorted(names - package):
        folder, _, rest = name.partition("/")
        if not folder.endswith(".dist-info") or rest not in METADATA:
            found.append(f"{name}: does not belong in the wheel")
    if "asyncrouter/py.typed" not in names:
        found.append("asyncrouter/py.typed: missing, so that no type checker believes the annotations")
    return found


def main(wheel: str) -> int:
    """Print the faults of *wheel*; return 1 when there are any."""
    found = faults(Path(wheel))
    print("\n".join(found) or f"{Path(wheel).name}: the same as the tree")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
