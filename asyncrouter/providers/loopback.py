"""The switch against real calls: nothing but this machine is called while it is set."""

from __future__ import annotations

import ipaddress
import os
from urllib.parse import urlsplit

LOOPBACK_ONLY = "ASYNCROUTER_LOOPBACK_ONLY"
"""The environment variable: "1" forbids every host but the loopback's, proxies included."""


def forbidden_host(*urls: str | None) -> str | None:
    """Return the first host among *urls* that the switch forbids to call; ``None`` when all may be called."""
    if os.environ.get(LOOPBACK_ONLY) != "1":
        return None
    hosts = (urlsplit(url).hostname or "" for url in urls if url is not None)
    return next((host for host in hosts if not is_loopback(host)), None)


def is_loopback(host: str) -> bool:
    """Tell whether *host* is ``localhost``, in 127.0.0.0/8, or ``::1``; other names are not looked up."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
