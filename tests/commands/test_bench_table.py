"""Tables and lines of a benchmark in windows of several widths."""

from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from minireranker.commands.bench_table import open_console, print_line, print_table

NAMES = ("", "p50", "pairs/s", "hits", "memory")
ROWS = (
    ("offline, all at once", "1.81 s", "21.78", "", "16.6 GB"),
    ("one after the other", "1.02 s", "19.1", "", "[bold]16"),
)


def window(width: int) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, width=width, force_terminal=True, color_system=None), out


def test_where_there_is_room_it_is_one_table_without_what_is_empty() -> None:
    console, out = window(80)
    print_table(console, NAMES, ROWS)
    assert [line.split() for line in out.getvalue().splitlines()] == [
        ["p50", "pairs/s", "memory"],
        ["offline,", "all", "at", "once", "1.81", "s", "21.78", "16.6", "GB"],
        ["one", "after", "the", "other", "1.02", "s", "19.1", "[bold]16"],
    ]


@given(st.integers(30, 60))
def test_in_a_narrow_one_columns_go_on_below_beside_their_rows_names(width: int) -> None:
    console, out = window(width)
    print_table(console, NAMES, ROWS)
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    parts = sum(line.startswith("offline, all at once") for line in lines)
    assert len(lines) == 3 * parts
    assert (parts > 1) is (width < 47)
    for cell in (cell for row in ROWS for cell in row):
        assert cell in out.getvalue()


def test_a_column_wider_than_the_window_is_not_cut() -> None:
    console, out = window(20)
    print_table(console, ("", "why"), [("a", "b" * 50)])
    assert "b" * 50 in "".join(out.getvalue().split())


def test_lines_are_broken_between_words_and_safe() -> None:
    console, out = window(30)
    print_line(console, "a path of /some/where/quite-far-away/below and\x1b[2J more [red]words")
    lines = out.getvalue().splitlines()
    assert len(lines) > 1
    assert any("/some/where/quite-far-away/below" in line for line in lines)
    assert all(line.startswith("  ") for line in lines[1:])
    assert "[red]words" in out.getvalue()
    assert "\x1b" not in out.getvalue()


def test_a_file_gets_whole_lines(capsys) -> None:
    print_line(open_console(), "word " * 100)
    assert len(capsys.readouterr().out.splitlines()) == 1
