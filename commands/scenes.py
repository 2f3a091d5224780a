"""`minireranker scenes`: a dataset of drawn scenes, to try the built-in model on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["scenes"]


def scenes(
    out: Annotated[Path, typer.Option("--out", "-o", file_okay=False, help="An empty folder.")],
    queries: Annotated[int, typer.Option(min=1)] = 500,
    candidates: Annotated[int, typer.Option(help="Pictures a query is up against.", min=4)] = 100,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Draw scenes of coloured figures, with queries and what fits them, for `bench quality`."""
    from minireranker.relevance import DrawnSettings, draw_dataset

    settings = DrawnSettings(queries, candidates, seed)
    draw_dataset(out, settings)
    typer.echo(f"{queries} queries, {queries * candidates} pictures: {out}")
