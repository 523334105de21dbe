"""Hold the last test run's coverage against what each floor must have: lines and branches together, in per cent."""

from __future__ import annotations

import io
import sys

import coverage

LEAST = {
    "asyncrouter/types/*": 100.0,
    "asyncrouter/hooks/*": 100.0,
    "asyncrouter/config/*": 100.0,
    "asyncrouter/state/*": 100.0,
    "asyncrouter/strategies/*": 100.0,
    "asyncrouter/*": 95.0,
}


def main() -> int:
    """Print one line a floor, and the missing lines of the ones that fall short; return 1 when any does."""
    data = coverage.Coverage()
    data.load()
    short = 0
    for pattern, least in LEAST.items():
        report = io.StringIO()
        covered = data.report(include=[f"*/{pattern}"], file=report)
        falls_short = covered < least
        short += falls_short
        print(f"coverage of {pattern:26} {covered:6.2f} %, at least {least:.0f} %{' FALLS SHORT' * falls_short}")
        if falls_short:
            print(report.getvalue())
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main())
