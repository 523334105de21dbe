"""The learners of a selector, and the file that keeps them: written atomically, by a thread and at the end."""

from __future__ import annotations

import json
import os
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

from asyncrouter.types.errors import ConfigError, ConfigFault
from asyncrouter_adaptive.learner import Learner, Settings

VERSION = 4
FORMAT = "asyncrouter-adaptive"
MOST_LEARNERS = 64
"""Agents with a learner of their own; the later ones share one."""
SPILL = "\0others"


class Store:
    """Learners by the name of an agent, "" for all together.

    ``lock`` is held while one learns and while the file's content is made; it is never held while the file is written.
    """

    def __init__(self, settings: Settings, path: str | None, *, save_s: float, fresh_if_corrupt: bool) -> None:
        self.lock = threading.Lock()
        self._settings = settings
        self._path = None if path is None else Path(path)
        self._save_s = save_s
        self._fresh_if_corrupt = fresh_if_corrupt
        self._learners: dict[str, Learner] = {}
        self._users = 0
        self._ended = threading.Event()
        self._writer: threading.Thread | None = None

    def learners(self) -> Iterator[Learner]:
        """Yield every learner."""
        yield from tuple(self._learners.values())

    def learner(self, agent: str) -> Learner:
        """Return the learner of *agent*, a new one where it has none."""
        learner = self._learners.get(agent)
        if learner is None:
            if len(self._learners) >= MOST_LEARNERS:
                agent = SPILL
            learner = self._learners.setdefault(agent, Learner(self._settings))
        return learner

    # ------------------------------------------------------------------ the file

    def open(self) -> None:
        """Read the file, if there is one, and begin to write it now and then; once, whoever else opens it.

        Raises :class:`~asyncrouter.types.errors.ConfigError` when it is damaged, or of other options, unless a fresh
        start was chosen.
        """
        self._users += 1
        if self._path is None or self._users > 1:
            return
        try:
            self._learners.update(self._read(self._path))
        except BaseException:
            self._users -= 1
            raise
        self._ended.clear()
        self._writer = threading.Thread(
            target=self._write_now_and_then, args=(self._path,), name="asyncrouter-adaptive", daemon=True
        )
        self._writer.start()

    def close(self) -> None:
        """Learn what is still waited for, and write the file, when the last that opened it closes it.

        Raises ``OSError`` when the file cannot be written.
        """
        self._users -= 1
        if self._users > 0:
            return
        with self.lock:
            for learner in self.learners():
                learner.settle_all()
        if self._writer is not None and self._path is not None:
            self._ended.set()
            self._writer.join()
            self._writer = None
            self._write(self._path)

    def _write_now_and_then(self, path: Path) -> None:
        while not self._ended.wait(self._save_s):
            try:
                self._write(path)
            except OSError as error:  # a full disk now may have room at the next time, and in the end it is raised
                warnings.warn(f"{path}: what was learned is not kept: {error.strerror}", stacklevel=1)

    def _write(self, path: Path) -> None:
        """Write the file beside its place, and move it there: who reads it sees the old one or the new one, whole."""
        with self.lock:
            content = self._content()
        beside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        try:
            with beside.open("w", encoding="utf-8") as file:
                json.dump(content, file)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)

    def _content(self) -> dict[str, Any]:
        learners = {agent: learner.dump() for agent, learner in self._learners.items()}
        return {"format": FORMAT, "version": VERSION, "options": self._schema(), "learners": learners}

    def _schema(self) -> dict[str, Any]:
        """Return the options that what was learned cannot be without."""
        chosen = attrs.asdict(self._settings)
        return {name: chosen[name] for name in ("tag", "price_weight")}

    def _read(self, path: Path) -> dict[str, Learner]:
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        except (OSError, UnicodeDecodeError) as error:
            return self._refused(path, f"cannot be read ({type(error).__name__})")
        try:
            return self._learners_of(json.loads(text))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            return self._refused(path, str(error) if isinstance(error, _OtherOptionsError) else "is damaged")

    def _learners_of(self, content: Any) -> dict[str, Learner]:
        if content["format"] != FORMAT:
            raise ValueError("another format")
        if content["version"] != VERSION:
            raise _OtherOptionsError(f"is of version {content['version']!r}, and this is {VERSION}")
        if content["options"] != self._schema():
            raise _OtherOptionsError(f"was learned with other options: {content['options']}")
        learners = {}
        for agent, state in content["learners"].items():
            learners[str(agent)] = Learner(self._settings)
            learners[str(agent)].load(state)
        return learners

    def _refused(self, path: Path, problem: str) -> dict[str, Learner]:
        if not self._fresh_if_corrupt:
            cure = 'move the file away, or choose on_corrupt = "fresh" to begin anew'
            raise ConfigError(faults=[ConfigFault("state", f"{path} {problem}", cure)])
        kept = path.with_name(f"{path.name}.corrupt")
        path.replace(kept)
        warnings.warn(f"{path} {problem}: learning begins anew, the file is kept as {kept.name}", stacklevel=2)
        return {}


class _OtherOptionsError(ValueError):
    """What the file holds fits no longer."""
