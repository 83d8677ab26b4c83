"""Tests of what a running demo shows."""

import io

from rich.console import Console

from tillstream.runners.demo.display import Display, Flow, Frame

FRAME = Frame(
    title="retail traffic",
    elapsed_s=3.25,
    flows={"customers": Flow(10, 9, 100), "orders": Flow(1_990, 1_500, 2_000)},
    latency_ms=(700, 1_200, 1_900),
    lag=42,
)


def test_plain_line_holds_all_figures() -> None:
    """Without a terminal a frame is one line with totals, latency and lag."""
    assert FRAME.line() == (
        "  3.2 s  retail traffic: events in 2,000, rows out 1,509, "
        "end-to-end latency P50 700 ms, P95 1,200 ms, max 1,900 ms, lag 42"
    )


def test_table_has_a_row_a_table_and_a_total() -> None:
    """In a terminal a frame is a table."""
    output = io.StringIO()
    Console(file=output, width=100).print(FRAME.table())
    text = output.getvalue()
    for cell in ("customers", "orders", "1,990", "1,500", "2,100", "P95 1,200 ms", "lag 42"):
        assert cell in text


def test_nothing_known_yet_is_said_so() -> None:
    """Before the first row and without a broker there are words instead of zeros."""
    frame = Frame("snapshot", 0.0, {}, None, None)
    assert frame.line().endswith("end-to-end latency: no row yet, lag unknown")


def test_plain_lines_come_every_two_seconds() -> None:
    """Frames in between are dropped, so that a log stays readable."""
    output, now = io.StringIO(), [0.0]
    with Display(Console(file=output, width=40), clock=lambda: now[0]) as display:
        for second in range(5):
            now[0] = float(second)
            display.show(FRAME)
    assert output.getvalue().count("\n") == 3


def test_terminal_redraws_one_table() -> None:
    """In a terminal the table is redrawn in place and stays when the display ends."""
    output = io.StringIO()
    with Display(Console(file=output, force_terminal=True, width=100)) as display:
        display.show(FRAME)
        display.show(FRAME)
    assert "customers" in output.getvalue()
    assert "\x1b[" in output.getvalue()
