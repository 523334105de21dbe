"""The command line on a configuration of two deployments, and as a process."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

SENTINEL_KEY = "sk-sentinel-9f2c"


def configure(folder: Path, url: str, **group: object) -> str:
    """Write a configuration of two deployments on the server at *url*; return its path."""
    config = {
        "router": {"default": "chat"},
        "providers": {"scripted": {"kind": "openai", "base_url": f"{url}/v1", "api_key_env": "SCRIPTED_KEY"}},
        "deployments": {
            "mini": {"provider": "scripted", "model": "mini-1", "price": {"input": 1.0, "output": 2.0}},
            "big": {"provider": "scripted", "model": "big-1", "price": {"input": 10.0, "output": 20.0}},
        },
        "groups": {
            "chat": {
                "deployments": ["mini", "big"],
                "select": {"use": "complexity", "threshold": 0.7},
                "patience_s": 0.0,
                "retry": {"use": "exponential", "max_retries": 0},
                **group,
            }
        },
        "agents": {"recon": {"group": "chat", "complexity_threshold": 0.1}},
    }
    path = folder / "config.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    return str(path)


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "asyncrouter", *arguments]


@contextmanager
def process(*arguments: str, **options):
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "encoding": "utf-8", **options}
    with subprocess.Popen(command(*arguments), **options) as child:
        try:
            yield child
        finally:
            child.kill()
