"""The server's own process: run as a script, it serves one model until its standard input ends.

The first argument is a JSON object with the fields of ``Options`` and ``port_before``.  One line of JSON on standard
output says ``{"url": …}`` once the server accepts, or ``{"error": …}``.  Standard input ends when the parent closes it
or dies in whatever way, so no server outlives its router.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from typing import Any

HOST = "127.0.0.1"
LOG_ERRORS = 1
"""llama.cpp's verbosity: errors only."""
HTTP_THREADS = 256
"""Connections served at once.  An idle one keeps its thread for five seconds (cpp-httplib's keep-alive), so that with
llama.cpp's own default, a few more than the slots, calls would wait seconds for connections that nobody uses."""
PROMPT_CACHE_MIB = 256
"""Memory for prompts of slots that were given to others; llama.cpp's own default is 8 GiB."""


def main() -> None:
    """Serve; never returns."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends Ctrl-C to the children too; the parent decides
    reply = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not reach the parent's line
    settings = json.loads(sys.argv[1])
    try:
        server = _serve(settings)
    except Exception as error:  # whatever it is, the parent has to know why there is no server
        print(json.dumps({"error": str(error) or type(error).__name__}), file=reply, flush=True)
        os._exit(1)
    print(json.dumps({"url": server.listening_address}), file=reply, flush=True)
    sys.stdin.buffer.read()
    os._exit(0)  # deleting the server would wait for the calls under way


def _serve(settings: dict[str, Any]) -> Any:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = settings["model_path"]
    params.model_alias = {settings["alias"]}
    params.n_ctx = settings["n_ctx"] * settings["n_parallel"]
    params.n_parallel = settings["n_parallel"]
    params.cpuparams.n_threads = settings["threads"]
    params.cpuparams_batch.n_threads = settings["threads"]
    if settings["seed"] is not None:
        params.sampling.seed = settings["seed"]
    params.hostnames = [HOST]
    params.port = _port(settings["port"], settings["port_before"])
    params.n_threads_http = HTTP_THREADS + settings["n_parallel"]
    params.use_jinja = True
    params.cache_ram_mib = PROMPT_CACHE_MIB
    params.endpoint_metrics = True
    params.endpoint_slots = False  # it shows every caller's prompt
    params.ui = False
    params.cors_origins = f"http://{HOST}"  # no web page may use the model
    params.verbosity = LOG_ERRORS
    return xllamacpp.Server(params)


def _port(wanted: int, before: int) -> int:
    """Return the port *wanted*; when that is 0 the one *before* the restart if it is still free, otherwise 0.

    A wanted port that is taken fails here in the system's own words: the server would only say that it cannot start.
    """
    if wanted:
        _bind(wanted)
        return wanted
    try:
        _bind(before)
    except OSError:
        return 0
    return before


def _bind(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise OSError(f"port {port}: {error.strerror}") from error


if __name__ == "__main__":
    main()
