"""Put the tables of ``benchmarks/results/*.json`` into ``docs/performance.md``, each between its two marks.

``python benchmarks/performance_page.py`` writes the page; ``--check`` ends with 1 when it is not up to date.  The marks
are ``<!-- results: NAME -->`` and ``<!-- end -->``.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from measuring import RESULTS, as_markdown

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
MARKED = re.compile(r"(<!-- results: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(page: str, results: Path = RESULTS) -> str:
    """Return *page* with the tables of *results*; a mark without a file stays as it is."""

    def table(found: re.Match[str]) -> str:
        path = results / f"{found[2]}.json"
        if not path.exists():
            return found[0]
        return f"{found[1]}\n{as_markdown(json.loads(path.read_text(encoding='utf-8')))}\n\n{found[3]}"

    return MARKED.sub(table, page)


def main() -> None:
    before = PAGE.read_text(encoding="utf-8")
    after = filled(before)
    if "--check" in sys.argv[1:]:
        sys.exit(
            0 if after == before else f"{PAGE.name} is not of the last results; run benchmarks/performance_page.py"
        )
    PAGE.write_text(after, encoding="utf-8")


if __name__ == "__main__":
    main()
