"""The tables of docs/performance.md are those of the last results."""

from __future__ import annotations

import subprocess
import sys

from pages import ROOT


def test_the_page_is_of_the_last_results():
    command = [sys.executable, str(ROOT / "benchmarks" / "performance_page.py"), "--check"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
