"""``minireranker train builtin``: the recipe of the built-in reranker and embedder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["builtin"]

_Out = Annotated[
    Path, typer.Option("--out", "-o", file_okay=False, help="A folder; run again, it goes on.")
]


def builtin(
    out: _Out,
    share: Annotated[
        float, typer.Option(help="Of the recipe's steps: 0.01 to see it run.", min=0, max=1)
    ] = 1.0,
) -> None:
    """Train the built-in models from nothing, on scenes that are drawn: hours on two cores."""
    from minireranker.train.builtin.recipe import Recipe, cook

    reranker, embedder = cook(out, Recipe() if share == 1.0 else Recipe().shortened(share))
    typer.echo(f"reranker: {reranker}\nembedder: {embedder}")
