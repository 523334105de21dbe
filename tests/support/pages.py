"""The project's documents, read as what tests need of them: code blocks, links, headings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import attrs

ROOT = Path(__file__).parents[2]
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for pattern in ("*.md", "docs/*.md", "plugins/*/README.md", "tests/demo_plugin/README.md")
    for path in sorted(ROOT.glob(pattern))
}
"""Every document by its path."""

_FENCE = re.compile(r"(?ms)^(?:<!-- file: (?P<file>\S+) -->\n)?```(?P<language>\w*)\n(?P<code>.*?)^```$")
_OUTPUT = re.compile(r"\s*```text\n(?P<output>.*?)^```$", re.MULTILINE | re.DOTALL)


@attrs.frozen
class Block:
    """One fenced block: ``file`` is the name that the comment before it gives, ``output`` the text block after it."""

    page: str
    line: int
    language: str
    code: str = attrs.field(repr=False)
    file: str | None = None
    output: str | None = attrs.field(default=None, repr=False)

    @property
    def id(self) -> str:
        """Where it stands."""
        return f"{self.page}:{self.line}"


def blocks(page: str, language: str | None = None) -> Iterator[Block]:
    """Yield the blocks of *page*, all of them or those of one language."""
    text = PAGES[page]
    for match in _FENCE.finditer(text):
        if language is None or match["language"] == language:
            output = _OUTPUT.match(text, match.end())
            yield Block(
                page=page,
                line=text.count("\n", 0, match.start("code")),
                language=match["language"],
                code=match["code"],
                file=match["file"],
                output=output["output"] if output and match["language"] == "python" else None,
            )


def prose(page: str) -> str:
    """Return *page* without its blocks."""
    return _FENCE.sub("", PAGES[page])


def links(page: str) -> list[str]:
    """Return the targets of the links of *page*."""
    return re.findall(r"\]\(([^()\s]+)\)", prose(page))


def anchors(page: str) -> set[str]:
    """Return the anchors of the headings of *page*."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        name = re.sub(r"[^\w\- ]", "", text).strip().lower().replace(" ", "-")
        count = 1
        while (anchor := name if count == 1 else f"{name}-{count - 1}") in found:
            count += 1
        found.add(anchor)
    return found


def section(page: str, heading: str) -> str:
    """Return what stands under the heading line *heading*, up to the next one of its level or a higher one."""
    level = len(heading) - len(heading.lstrip("#"))
    text = PAGES[page]
    start = text.index(f"\n{heading}\n") + len(heading) + 2
    end = re.search(rf"^#{{1,{level}}} ", text[start:], re.MULTILINE)
    return text[start:] if end is None else text[start : start + end.start()]


def named_in(text: str) -> set[str]:
    """Return every word that stands in ``backticks`` in *text*, whole or as part of a list or a call."""
    return {word for code in re.findall(r"`([^`\n]+)`", text) for word in re.findall(r"[A-Za-z_][\w-]*", code)}
