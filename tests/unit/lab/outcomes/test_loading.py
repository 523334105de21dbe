"""Outcomes of files: formats, columns, prices, pairs; each fault named with its place."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math

import numpy as np
import pytest

from asyncrouter.lab.outcomes import concat, load
from asyncrouter.lab.outcomes.loading import read, read_prompts
from asyncrouter.lab.outcomes.table import identity
from asyncrouter.types.errors import ConfigError

PAIR = [
    {"id": "a", "category": "sums", "prompt": "What is 1 + 1?", "strong": 1.0, "weak": 1.0, "source": "made up"},
    {
        "id": "b",
        "category": "sums",
        "prompt": "What is\n17, times 23?",
        "strong": 1.0,
        "weak": 0.0,
        "source": "made up",
    },
    {"id": "c", "category": "words", "prompt": 'Say "ö".', "strong": 0.25, "weak": 0.5, "source": "made up"},
]
MODELS = [
    {"prompt": "x" * 400, "inlen": 800, "big": 1, "mini": 0, "big__len": 400, "mini__len": 200, "year": 2024},
    {"prompt": "y" * 40, "inlen": 80, "big": 1, "mini": 1, "big__len": 40, "mini__len": 20, "year": 2025},
]


def parquet(rows):
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink, compression="zstd")
    return sink.getvalue()


def json_lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def csv_text(rows):
    out = io.StringIO()
    writer = csv.DictWriter(out, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


FORMATS = {".parquet": parquet, ".jsonl": json_lines, ".csv": csv_text}


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write


@pytest.mark.parametrize("is_gzipped", [False, True])
@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_gives_the_same(write, suffix, is_gzipped):
    content = FORMATS[suffix](PAIR)
    path = write(
        f"pair{suffix}.gz" if is_gzipped else f"pair{suffix}", gzip.compress(content) if is_gzipped else content
    )
    table = load(path)
    assert table.ids == ("a", "b", "c")
    assert table.prompts == tuple(row["prompt"] for row in PAIR)
    assert table.groups == ("sums", "sums", "words")
    assert table.sources == (path.name,) * 3
    assert (table.models, table.strong, table.weak) == (("strong", "weak"), "strong", "weak")
    assert table.gain.tolist() == [0.0, 1.0, -0.25]
    assert table.costs is None


def test_a_column_of_scores_is_a_model_and_other_numbers_are_none(write):
    table = load(write("models.jsonl", json_lines(MODELS)))
    assert table.models == ("big", "mini")
    assert (table.strong, table.weak) == ("big", "mini")
    assert table.groups == ("models.jsonl",) * 2


def test_costs_are_those_of_what_was_sent_and_answered(write):
    path = write("some_models.jsonl", json_lines(MODELS))
    write("some_prices.json", json.dumps({"big": {"input": 2.0, "output": 8.0}, "mini": 0.5}).encode())
    table = load(path)
    costs, answers = table.costs, table.answer_costs
    assert costs * 1e6 == pytest.approx(np.array([[200 * 2 + 100 * 8, (200 + 50) * 0.5], [20 * 2 + 10 * 8, 25 * 0.5]]))
    assert answers * 1e6 == pytest.approx(np.array([[100 * 8, 50 * 0.5], [10 * 8, 25 * 0.5 - 20 * 0.5]]))
    assert table.lengths.tolist() == [[100, 50], [10, 5]]
    assert load(path, prices=write("none.json", b"{}")).answer_costs is None


def test_without_lengths_the_prompt_alone_is_paid_for(write):
    path = write("m.jsonl", json_lines([{"prompt": "x" * 400, "a": 1, "b": 0}]))
    prices = write("p.json", b'{"a": {"usd_per_1m_input": 3, "usd_per_1m_output": 9}}')
    costs = load(path, prices=prices).costs
    assert costs[0, 0] == pytest.approx(300e-6)
    assert math.isnan(costs[0, 1])
    assert load(path, prices=prices).answer_costs[0, 0] == 0
    assert load(path, prices=prices).lengths is None


def test_what_is_known_of_answers_goes_where_their_scores_go(write):
    table = load(write("m.jsonl", json_lines(MODELS)))
    assert table.rows(np.array([1])).lengths.tolist() == [table.lengths[1].tolist()]
    assert table.of_models(np.array([1])).lengths.tolist() == table.lengths[:, 1:].tolist()
    pair = load(write("p.jsonl", json_lines([{"prompt": "x", "strong": 1, "weak": 0}])))
    both = concat([table, pair])
    assert both.models == ("big", "mini", "strong", "weak")
    assert both.lengths[0].tolist() == [*table.lengths[0], *table.lengths[0]]
    assert np.isnan(both.lengths[2]).all()


def test_the_cheapest_model_that_is_worse_is_the_weak_one(write):
    rows = [{"prompt": str(n), "best": 1, "middle": n % 2, "worst": 0, "dear": n % 2} for n in range(4)]
    path = write("m.jsonl", json_lines(rows))
    prices = write("p.json", json.dumps({"best": 9, "middle": 2, "worst": 3, "dear": 8}).encode())
    assert load(path, prices=prices).weak == "middle"
    assert load(path).weak in {"middle", "dear"}
    assert load(path, strong="middle", weak="worst").gain.tolist() == [0, 1, 0, 1]


def test_scores_may_be_missing(write):
    table = load(write("m.csv", b"prompt,strong,weak\nx,1,\ny,,0\nz,1,0\n"))
    assert np.isnan(table.gain).tolist() == [True, True, False]


def test_a_model_may_come_late(write):
    rows = [{"prompt": str(n), "a": 1, "b": 0} for n in range(5000)] + [{"prompt": "p", "a": 1, "c": 0.5}]
    parts = list(read(write("m.jsonl", json_lines(rows))))
    assert [part.models for part in parts] == [("a", "b"), ("a", "b", "c")]
    table = concat(parts)
    assert table.models == ("a", "b", "c")
    assert np.isnan(table.of("c")).sum() == 5000
    assert np.isnan(table.of("b")).sum() == 1


def test_tables_of_different_pairs_keep_each_rows_own(write):
    pair = load(write("pair.jsonl", json_lines(PAIR)))
    models = load(write("models.jsonl", json_lines(MODELS)))
    both = concat([pair, models])
    assert (both.strong, both.weak) == ("strong", "weak")
    assert both.gain.tolist() == [*pair.gain, *models.gain]
    assert both.sources == ("pair.jsonl",) * 3 + ("models.jsonl",) * 2
    some = both.rows(np.array([3, 1]))
    assert (some.prompts, some.gain.tolist()) == (("x" * 400, PAIR[1]["prompt"]), [1.0, 1.0])


def test_the_same_prompt_has_the_same_identity():
    assert identity("What is 1 + 1?") == identity(" what is  1+1 ") != identity("What is 1 + 2?")
    assert identity("日本") != identity("東京")
    assert identity("!?") != identity("?!")


def test_prompts_are_read_without_scores(write):
    path = write("p.jsonl", json_lines([{"question": "one"}, {"question": [{"role": "user", "content": "two"}]}]))
    (some,) = read_prompts(path)
    assert some.prompts == ("one", "two")
    assert some.ids == (identity("one"), identity("two"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"prompt": "x", "strong": 1, "weak": 0}\n{"prompt"\n', "a.jsonl, line 2: is no JSON"),
        ("a.jsonl", b"[1]\n", "a.jsonl, line 1: expected an object, not list"),
        ("a.jsonl", b'{"text_": "x"}\n', "a.jsonl: no column of prompts; name it prompt .the columns are: text_"),
        ("a.jsonl", b'{"prompt": 3, "strong": 1, "weak": 0}\n', "a.jsonl, row 1, column 'prompt': expected a text"),
        (
            "a.csv",
            b"prompt,strong,weak\nx,1,0\ny,7,0\n",
            "a.csv, row 2, column 'strong': 7 is no score from 0 to 1; scale",
        ),
        ("a.csv", b"prompt,strong,weak\nx,1,0\ny,yes,0\n", "a.csv, row 2, column 'strong': is no number"),
        ("a.csv", b"prompt,strong,weak\nx,1,0,4,5\n", "a.csv: a row from 1 on has more fields"),
        ("a.csv", b"prompt,year\nx,1990\n", "a.csv: no column of scores"),
        ("a.jsonl", b"", "a.jsonl: holds no row"),
        ("a.jsonl", b"\xff\xfe", "a.jsonl: is not UTF-8 text"),
        ("a.parquet", b"PAR1 and no more", "a.parquet: is no sound parquet file"),
        ("a.jsonl.gz", gzip.compress(json_lines(PAIR))[:-20], "a.jsonl.gz: ends too early"),
        ("a.jsonl", json_lines([{"prompt": "x", "m": 1}]), "a.jsonl: no model is worse than 'm'"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(write, name, content, message):
    with pytest.raises(ConfigError, match=message):
        load(write(name, content))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "is no JSON text"),
        (b"[]", "expected an object of models, not list"),
        (b'{"big": "cheap"}', 'big: expected a price per million tokens, or {"input": '),
        (b'{"big": {"input": 1}}', "big: expected a price"),
        (b'{"big": -1}', "big: expected a price"),
    ],
)
def test_wrong_prices_are_told_with_their_place(write, content, message):
    path = write("m.jsonl", json_lines(MODELS))
    with pytest.raises(ConfigError, match=rf"p\.json.*{message}"):
        load(path, prices=write("p.json", content))


def test_an_unknown_model_of_the_pair_is_told(write):
    with pytest.raises(ConfigError, match="no model 'huge'; there are: big, mini"):
        load(write("m.jsonl", json_lines(MODELS)), strong="huge")
