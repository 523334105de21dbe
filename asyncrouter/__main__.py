"""``python -m asyncrouter`` and the command ``asyncrouter``."""

from __future__ import annotations

import importlib.util
import sys

USAGE, INTERRUPTED = 2, 130


def main() -> int:
    """Run the command line; return its exit code.

    0 done, 1 the call failed, 2 usage or configuration, 130 interrupted.
    """
    missing = [package for package in ("click", "rich") if importlib.util.find_spec(package) is None]
    if missing:
        sys.stderr.write(
            f'error: the command line needs {" and ".join(missing)}; run: pip install "asyncrouter[cli]"\n'
        )
        return USAGE
    try:
        from asyncrouter.cli.app import run

        return run()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
