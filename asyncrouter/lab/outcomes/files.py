"""Rows of files as columns of values, a batch at a time: parquet, lines of JSON, CSV; each may be gzipped.

What a file is, its first bytes say where they can, its name otherwise.
"""

from __future__ import annotations

import csv
import gzip
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, cast

from asyncrouter.types.errors import ConfigError

Batch = Mapping[str, Sequence[Any]]
"""Some rows: columns of equal length by their names; ``None`` is a value that is missing."""

Progress = Callable[[float], None]
"""Told the share of some work that is done, from 0 to 1."""

BATCH_ROWS = 4096
GZIP, PARQUET = b"\x1f\x8b", b"PAR1"
LONGEST_CELL = 2**31 - 1
"""Characters of one field of a CSV file: prompts of a megabyte occur, the library's own bound is an eighth of one."""


def ignored(_share: float) -> None:
    """Look at no progress."""


def read_batches(path: Path, progress: Progress = ignored) -> Iterator[Batch]:
    """Yield the rows of the file at *path*, some thousands at a time.

    *progress* is told the share of the file that is read.  Raises :class:`ConfigError` naming the place.
    """
    try:
        with path.open("rb") as raw:
            is_gzipped = raw.read(len(GZIP)) == GZIP
            raw.seek(0)
            file = cast("IO[bytes]", gzip.GzipFile(fileobj=raw)) if is_gzipped else raw
            size = max(os.fstat(raw.fileno()).st_size, 1)
            for batch in _batches(file, path):
                yield batch
                progress(min(raw.tell() / size, 1.0))
        progress(1.0)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or 'its gzip data are damaged'}; give a readable file") from error
    except (EOFError, UnicodeDecodeError) as error:
        problem = "is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else "ends too early"
        raise ConfigError(f"{path}: {problem}; expected parquet, lines of JSON or CSV, gzipped or not") from error


def _batches(file: IO[bytes], path: Path) -> Iterator[Batch]:
    beginning = file.read(len(PARQUET))
    file.seek(0)
    if beginning == PARQUET:
        return _parquet(file, path)
    text = (line.decode("utf-8-sig" if number == 0 else "utf-8") for number, line in enumerate(file))
    suffixes = {suffix.lower() for suffix in path.suffixes}
    if suffixes & {".csv", ".tsv"}:
        return _csv(text, path, "\t" if ".tsv" in suffixes else ",")
    return _json_lines(text, path)


def _parquet(file: IO[bytes], path: Path) -> Iterator[Batch]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        for batch in pq.ParquetFile(file).iter_batches(BATCH_ROWS):
            yield batch.to_pydict()
    except pa.ArrowException as error:
        raise ConfigError(f"{path}: is no sound parquet file: {error}") from error


def _csv(lines: Iterator[str], path: Path, delimiter: str) -> Iterator[Batch]:
    csv.field_size_limit(LONGEST_CELL)
    reader = csv.DictReader(lines, delimiter=delimiter, strict=True)
    try:
        yield from _columns(reader, path)
    except csv.Error as error:
        raise ConfigError(f"{path}, line {reader.line_num}: {error}; quote fields that hold commas or lines") from error


def _json_lines(lines: Iterator[str], path: Path) -> Iterator[Batch]:
    yield from _columns(_objects(lines, path), path)


def _objects(lines: Iterator[str], path: Path) -> Iterator[Mapping[str, Any]]:
    for number, line in enumerate(lines, start=1):
        if line.isspace():
            continue
        try:
            value = json.loads(line)
        except ValueError as error:
            raise ConfigError(f"{path}, line {number}: is no JSON; write one object a line") from error
        if not isinstance(value, dict):
            raise ConfigError(f"{path}, line {number}: expected an object, not {type(value).__name__}")
        yield value


def _columns(rows: Iterable[Mapping[str, Any]], path: Path) -> Iterator[Batch]:
    counted = iter(rows)
    first = 1
    while some := list(itertools.islice(counted, BATCH_ROWS)):
        names = dict.fromkeys(name for row in some for name in row)
        if None in names:
            raise ConfigError(f"{path}: a row from {first} on has more fields than there are columns; quote them")
        yield {name: [row.get(name) for row in some] for name in names}
        first += len(some)
