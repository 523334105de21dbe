"""The examples of docs/testing.md and docs/plugins.md run as they stand.

Every ``python`` block is a module of its own, or the file that the comment before it names.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[3] / "docs"
BLOCK = re.compile(r"(?ms)(?:^<!-- file: (?P<file>\S+) -->\n)?^```(?P<kind>python|toml)\n(?P<code>.*?)^```$")
INI = "[pytest]\nanyio_mode = auto\nfilterwarnings = error\npython_files = test_*.py\n"


def write_blocks(page, folder):
    """Write the blocks of *page* as files; return how many are tests or scripts of their own."""
    plain = 0
    for match in BLOCK.finditer((DOCS / page).read_text(encoding="utf-8")):
        if match["file"] is None and match["kind"] == "toml":
            continue
        plain += match["file"] is None
        path = folder / (match["file"] or f"test_example_{plain}.py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(match["code"], encoding="utf-8")
    return plain


def run_pytest(folder, *pythonpath):
    (folder / "pytest.ini").write_text(INI)
    paths = os.pathsep.join(map(str, pythonpath))
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib", "."],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": paths},
    )


def passed(done):
    assert done.returncode == 0, done.stdout + done.stderr
    return int(re.search(r"(\d+) passed", done.stdout)[1])


def install(project, site):
    """Make the metadata that installing *project* would make."""
    described = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    info = site / f"{described['name'].replace('-', '_')}-{described['version']}.dist-info"
    info.mkdir(parents=True)
    requires = "".join(f"Requires-Dist: {one}\n" for one in described["dependencies"])
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {described['name']}\nVersion: {described['version']}\n{requires}"
    )
    for group, points in described["entry-points"].items():
        lines = "".join(f"{name} = {value}\n" for name, value in points.items())
        (info / "entry_points.txt").write_text(f"[{group}]\n{lines}")


def test_the_examples_of_the_testing_page_run(tmp_path):
    blocks = write_blocks("testing.md", tmp_path)
    assert blocks >= 9
    assert passed(run_pytest(tmp_path)) >= 24


def test_the_worked_plugin_and_the_other_examples_run(tmp_path):
    blocks = write_blocks("plugins.md", tmp_path)
    assert blocks >= 2
    install(tmp_path, tmp_path / "site")
    assert passed(run_pytest(tmp_path, tmp_path / "site", tmp_path / "src")) >= 50


def anchors(page):
    headings = re.findall(r"(?m)^#+ (.*)$", page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", ["testing.md", "plugins.md"])
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)]+)\)", (DOCS / page).read_text(encoding="utf-8"))
    assert links
    for link in links:
        target, _, anchor = link.partition("#")
        assert (DOCS / (target or page)).exists(), link
        assert not anchor or anchor in anchors(DOCS / (target or page)), link
