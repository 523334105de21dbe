"""Plugin distributions made up by a test: a module and its metadata in a folder on ``sys.path``."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

HEADER = "from asyncrouter.hooks.markers import hookimpl\n"


@contextlib.contextmanager
def installing_in(site: Path) -> Iterator[Callable[..., None]]:
    """Put *site* on ``sys.path`` and yield ``install(distribution, source, ...)``; undo everything at the end."""
    modules: list[str] = []

    def install(
        distribution: str,
        source: str,
        *,
        module: str | None = None,
        entry_points: str | None = None,
        requires: str = "asyncrouter>=0.1",
    ) -> None:
        module = module or distribution.lower().replace("-", "_")
        modules.append(module)
        (site / f"{module}.py").write_text(HEADER + source)
        info = site / f"{distribution.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\nRequires-Dist: {requires}\n"
        )
        word = distribution.partition("-")[2] or distribution
        points = f"{word} = {module}" if entry_points is None else entry_points
        (info / "entry_points.txt").write_text(f"[asyncrouter]\n{points}\n")
        importlib.invalidate_caches()

    sys.path.insert(0, str(site))
    try:
        yield install
    finally:
        sys.path.remove(str(site))
        importlib.invalidate_caches()
        for name in modules:
            sys.modules.pop(name, None)
