"""Tables and lines of a benchmark, as wide as the window: columns that do not fit go on below.

What goes to a file or a pipe is not broken: one table, each line whole, for whoever searches it.
"""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from .printable import printable

if TYPE_CHECKING:
    from rich.console import Console, JustifyMethod

__all__ = ["open_console", "print_line", "print_table"]

_UNBROKEN = 10_000
"""Columns of a file."""
_GAP = 2
_INDENT = "  "
"""Of a line that goes on."""


def open_console() -> Console:
    """Of stdout."""
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=_UNBROKEN)


def print_table(
    console: Console,
    names: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    left: Collection[int] = (0,),
) -> None:
    """Print cells under their columns' names; no digit is lost in a narrow window.

    The first column names the rows, and stands again before every part; a column without a cell
    is left out. ``left``: those whose cells begin together; the others end together.
    """
    from rich.table import Table
    from rich.text import Text

    widths = [max(map(len, column)) for column in zip(names, *rows, strict=True)]
    filled = [at for at in range(1, len(names)) if any(row[at] for row in rows)]
    for block in _blocks(widths, filled, console.width):
        table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
        for at in block:
            justify: JustifyMethod = "left" if at in left else "right"
            # Only what is wider than the window alone is folded.
            table.add_column(names[at], justify=justify, overflow="fold")
        for row in rows:
            table.add_row(*(Text(printable(row[at])) for at in block))
        console.print(table)


def print_line(console: Console, line: str, style: str = "") -> None:
    """Print a line; in a window it is broken between words."""
    from rich.text import Text

    broken = textwrap.wrap(
        printable(line),
        console.width,
        subsequent_indent=_INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )
    console.print(Text("\n".join(broken), style=style), soft_wrap=True)


def _blocks(widths: Sequence[int], places: Sequence[int], room: int) -> Iterator[list[int]]:
    """Which columns stand beside each other: the first one, and as many of ``places`` as fit."""
    block, used = [0], widths[0]
    for at in places:
        if len(block) > 1 and used + _GAP + widths[at] > room:
            yield block
            block, used = [0], widths[0]
        block.append(at)
        used += _GAP + widths[at]
    yield block
