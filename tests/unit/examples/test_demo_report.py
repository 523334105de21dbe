"""The demonstration's table, totals and picture, of runs written out by hand."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from asyncrouter.examples.demo.plot import bands_of, bars_of, draw, lanes_of
from asyncrouter.examples.demo.prompts import Task
from asyncrouter.examples.demo.record import BreakerChange, Call, Outage, Run, Way, quantile
from asyncrouter.examples.demo.report import COLUMNS, PROMPT_WIDTH, document, shortened, table_rows, total_lines
from asyncrouter.types.decisions import Estimate
from asyncrouter.types.errors import ConnectionFailed, DeadlineExceeded
from asyncrouter.types.response import Response, Usage
from asyncrouter.types.trace import Attempt, AttemptKind, Outcome, RouteTrace

BEGAN = 100.0
REFUSED = ConnectionFailed("refused")


def attempt(deployment, begin_s, end_s, kind=AttemptKind.FIRST, error=None):
    return Attempt(
        number=1,
        deployment=deployment,
        group="default",
        kind=kind,
        outcome=Outcome.FAILED if error else Outcome.OK,
        error=error,
        started_at=BEGAN + begin_s,
        duration_s=end_s - begin_s,
    )


def call(number, complexity, *attempts, stream=False, reserved=False, **params):
    task = Task(
        number=number,
        messages=({"role": "user", "content": f"prompt {number}"},),
        stream=stream,
        reserved=reserved,
        params=params,
    )
    estimate = Estimate(complexity=complexity, input_tokens=3)
    trace = RouteTrace(request_id=str(number), estimate=estimate, attempts=attempts)
    times = {"begun_s": 1.0, "ended_s": 3.5}
    last = attempts[-1]
    if last.outcome is Outcome.FAILED:
        return Call(task=task, error=DeadlineExceeded("late", trace=trace), **times)
    usage = Usage(input_tokens=7, output_tokens=2)
    return Call(
        task=task,
        response=Response(raw={}, deployment=last.deployment, model="m", usage=usage, trace=trace),
        **times,
    )


def run_of(*calls, tasks=None, breaker=(), duration_s=10.0):
    return Run(
        tasks=tuple(tasks or (one.task for one in calls)),
        calls=calls,
        outage=Outage(deployment="small", stopped_s=2.0, told_to_start_s=5.0, ready_s=6.0),
        breaker=breaker,
        concurrency=6,
        began_at=BEGAN,
        duration_s=duration_s,
    )


EASY = call(1, 0.1, attempt("small", 0.0, 1.0))
HARD = call(2, 0.9, attempt("large", 0.5, 2.0), stream=True)
FALLEN = call(
    3,
    0.2,
    attempt("small", 1.5, 2.0, error=REFUSED),
    attempt("small", 2.0, 2.0, AttemptKind.RETRY, error=REFUSED),
    attempt("large", 2.0, 3.0, AttemptKind.FALLBACK),
    tools=[{}],
)
STEERED = call(4, 0.2, attempt("large", 3.0, 4.0))
RECOVERED = call(5, 0.2, attempt("small", 6.5, 7.0))
DROPPED = call(6, 0.2, attempt("small", 3.0, 3.0, error=REFUSED))


@pytest.mark.parametrize(
    ("one", "way"),
    [
        (EASY, Way.CHOSEN),
        (HARD, Way.CHOSEN),
        (FALLEN, Way.FELL_BACK),
        (STEERED, Way.STEERED),
        (RECOVERED, Way.CHOSEN),
        (DROPPED, Way.LOST),
    ],
)
def test_how_a_call_came_to_its_answer(one, way):
    assert one.way is way


def test_exactly_one_answer_each_is_what_is_not_lost():
    assert run_of(EASY, HARD).lost == ()
    assert run_of(EASY, DROPPED).lost == (DROPPED.task,)
    assert run_of(EASY, HARD, HARD, tasks=[EASY.task, HARD.task]).lost == (HARD.task,)
    assert run_of(EASY, tasks=[EASY.task, HARD.task]).lost == (HARD.task,)


def test_only_what_began_after_the_restart_counts_as_recovered():
    assert run_of(EASY, FALLEN, STEERED, RECOVERED, DROPPED).recovered == (RECOVERED,)


def test_when_a_breaker_was_not_closed():
    changes = [
        ("small", 2.0, "open"), ("small", 3.0, "half_open"), ("small", 3.1, "open"), ("large", 3.5, "open"),
        ("small", 6.0, "half_open"), ("small", 6.5, "closed"), ("small", 7.0, "closed"),
    ]  # fmt: skip
    breaker = tuple(BreakerChange(deployment=name, at_s=at, state=state) for name, at, state in changes)
    assert run_of(EASY, breaker=breaker).set_aside == (("small", 2.0, 6.5), ("large", 3.5, 10.0))
    assert run_of(EASY).set_aside == ()


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [([], 0.5, None), ([3.0], 0.95, 3.0), ([4, 1, 3, 2], 0.5, 2), ([4, 1, 3, 2], 0.95, 4), (range(1, 21), 0.95, 19)],
)
def test_quantiles_are_by_nearest_rank(values, share, expected):
    assert quantile(values, share) == expected


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("short", "short"),
        ("exactly 10", "exactly 10"),
        ("more than ten", "more than…"),
        (" two\nlines ", "two lines"),
        ("一二三四五", "一二三四五"),
        ("一二三四五六", "一二三四…"),
    ],
)
def test_prompts_are_shortened_to_columns_of_a_terminal(text, short):
    assert shortened(text, 10) == short
    assert cell_len(short) <= 10


def test_the_table_has_a_row_for_each_call():
    rows = list(table_rows(run_of(EASY, HARD, FALLEN, DROPPED)))
    assert all(len(row) == len(COLUMNS) for row in rows)
    assert rows[0] == ("1", "prompt 1", "plain", "0.10", "small", "1", "7 + 2", "2.50 s")
    assert rows[1][2] == "stream"
    assert rows[2] == ("3", "prompt 3", "tools", "0.20", "large", "3 (2 failed)", "7 + 2", "2.50 s")
    assert rows[3] == ("6", "prompt 6", "plain", "0.20", "LOST", "1 (1 failed)", "-", "2.50 s")


def test_a_call_that_failed_before_any_decision_has_a_row_too():
    lost = Call(task=EASY.task, begun_s=0.0, ended_s=0.0, error=DeadlineExceeded("late"))
    assert next(table_rows(run_of(lost)))[3:6] == ("-", "LOST", "0")


def test_the_totals():
    lines = list(total_lines(run_of(EASY, HARD, FALLEN, STEERED, RECOVERED)))
    assert lines == [
        "prompts: 5 in 10.0 s, 6 at once; 1 streamed, 1 with tools",
        "large: 3 answers, 0 failed attempts",
        "small: 2 answers, 2 failed attempts",
        "outage: server of small stopped at 2.0 s, told to start at 5.0 s, ready at 6.0 s",
        "fell back: 1",
        "steered around the open breaker: 1",
        "served by small after its restart: 1",
        "tokens: 35 in, 10 out",
        "latency: p50 2.50 s, p95 2.50 s",
        "lost: 0",
    ]


def test_the_document_tells_of_every_attempt():
    found = document(run_of(EASY, FALLEN), None)
    assert found["plot"] is None
    assert found["deployments"] == {
        "large": {"answers": 1, "failed_attempts": 0},
        "small": {"answers": 1, "failed_attempts": 2},
    }
    first, second = found["calls"]
    assert (first["tools"], second["tools"]) == (False, True)
    assert second["way"] == "fell back after a failure"
    assert [(one["deployment"], one["outcome"], one["kind"], one["started_s"]) for one in second["attempts"]] == [
        ("small", "failed", "first", 1.5),
        ("small", "failed", "retry", 2.0),
        ("large", "ok", "fallback", 2.0),
    ]
    assert second["attempts"][0]["error"]["type"] == "ConnectionFailed"


# ------------------------------------------------------------------ the picture


def test_overlapping_bars_get_lanes_of_their_own():
    calls = [
        call(number, 0.1, attempt("small", begin, end))
        for number, (begin, end) in enumerate([(0, 4), (1, 2), (1, 3), (2, 5), (3, 3), (3, 6), (5, 6)], start=1)
    ]
    bars = bars_of(run_of(*calls))
    assert lanes_of(bars) == (0, 1, 2, 1, 2, 2, 0)
    assert lanes_of(()) == ()


def test_the_stopped_deployment_is_at_the_bottom_and_no_bar_leaves_its_band():
    bands = bands_of(run_of(EASY, HARD, FALLEN, STEERED, RECOVERED))
    assert [band.deployment for band in bands] == ["small", "large"]
    assert bands[0].bottom == 0.0
    assert bands[1].bottom >= bands[0].height
    assert [[bar.way for bar in band.bars] for band in bands] == [
        [Way.CHOSEN, None, None, Way.CHOSEN],
        [Way.CHOSEN, Way.FELL_BACK, Way.STEERED],
    ]


def test_a_deployment_that_was_never_asked_has_an_empty_band():
    bands = bands_of(run_of(HARD))
    assert [(band.deployment, band.height, band.bars) for band in bands[:1]] == [("small", 1, ())]


def test_the_picture_shows_every_colour(tmp_path):
    import matplotlib.image
    from matplotlib.colors import to_rgb

    from asyncrouter.examples.demo.plot import COLOURS, FAILED, LINES

    change = BreakerChange(deployment="small", at_s=2.0, state="open")
    draw(run_of(EASY, HARD, FALLEN, STEERED, RECOVERED, breaker=(change,)), tmp_path / "run.png")
    pixels = matplotlib.image.imread(tmp_path / "run.png")[:, :, :3]
    for colour in [*COLOURS.values(), FAILED, *LINES]:
        assert (abs(pixels - to_rgb(colour)).max(axis=2) < 0.01).sum() > 50, colour


def test_a_prompt_is_never_wider_than_its_column():
    rows = table_rows(run_of(EASY))
    assert max(cell_len(row[1]) for row in rows) <= PROMPT_WIDTH
