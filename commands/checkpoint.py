"""``minireranker checkpoint``: make a checkpoint with random weights, look into one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from minireranker.models.inspect import Inspection

app = typer.Typer(help="Make a checkpoint with random weights, or look into one.")


@app.command()
def synth(
    out: Annotated[Path, typer.Option(help="Directory to write.")],
    size: Annotated[str, typer.Option(help="Geometry: tiny, 2b, 4b or 8b.")] = "tiny",
    seed: Annotated[int, typer.Option(help="Same seed, same weights.")] = 0,
    dtype: Annotated[
        str, typer.Option(help="Stored as bfloat16, float16 or float32.")
    ] = "bfloat16",
    tokenizer: Annotated[
        Path | None, typer.Option(help="Take the tokenizer of this directory.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a checkpoint at OUT.")] = False,
) -> None:
    """Write a checkpoint with random weights in the published Qwen3-VL layout.

    It loads and runs like a real one of that size; its scores mean nothing.
    """
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    from minireranker.models.synth import synthesize

    console = Console(stderr=True)
    columns = (TextColumn("weights"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("weights", total=None)
        written = synthesize(
            out,
            size,
            seed=seed,
            dtype=dtype,
            tokenizer=tokenizer,
            overwrite=force,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    typer.echo(written)


@app.command()
def inspect(
    directory: Annotated[Path, typer.Argument(help="Checkpoint directory.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what a checkpoint holds, what is missing in it, and which profiles fit.

    Exits with 1 if it cannot be scored with.
    """
    import json

    from rich.console import Console

    from minireranker.models.inspect import inspect_checkpoint

    found = inspect_checkpoint(directory)
    if as_json:
        typer.echo(json.dumps(found.to_dict(), indent=2))
    else:
        console = Console(markup=False, highlight=False)  # messages have brackets of their own
        for table in (_geometry(found), _contents(found), _profiles(found)):
            console.print(table)
        for problem in found.problems:
            console.print(f"problem: {problem}", style="red")
    if found.problems:
        raise typer.Exit(1)


def _table(title: str, *columns: str) -> Table:
    from rich.table import Table

    table = Table(title=title, title_justify="left", show_header=bool(columns))
    for column in columns or ("", ""):
        table.add_column(column, overflow="fold")
    return table


def _geometry(found: Inspection) -> Table:
    text, vision = found.config.text, found.config.vision
    columns = ("part", "layers", "hidden", "MLP", "heads", "parameters")
    table = _table(f"Qwen3-VL {found.path}", *columns)
    counts = {part: f"{count:,}" for part, count in found.parameters.items()}
    if found.config.tie_word_embeddings and not found.parameters["head"]:
        counts["head"] = "tied to the embedding"
    heads = f"{text.num_attention_heads} / {text.num_key_value_heads} of {text.head_dim}"
    sizes = (text.num_hidden_layers, text.hidden_size, text.intermediate_size)
    table.add_row("decoder", *map(str, sizes), heads, counts["decoder"])
    heads = f"{vision.num_heads} of {vision.hidden_size // vision.num_heads}"
    sizes = (vision.depth, vision.hidden_size, vision.intermediate_size)
    table.add_row("vision", *map(str, sizes), heads, counts["vision"])
    for part in ("embedding", "head"):
        table.add_row(part, "", str(text.hidden_size), "", "", counts[part])
    return table


def _contents(found: Inspection) -> Table:
    table = _table("Contents")
    dtypes = ", ".join(f"{count} {dtype}" for dtype, count in found.dtypes.items())
    table.add_row("tensors", f"{dtypes}; {found.nbytes / 1e9:.3f} GB")
    table.add_row("files", "\n".join(f"{n}  {size:,}" for n, size in found.shards.items()))
    table.add_row("key prefixes", "  ".join(found.prefixes))
    table.add_row("tokens", "  ".join(f"{text} {number}" for text, number in found.tokens.items()))
    counts = (len(found.missing), len(found.unexpected), len(found.misshaped))
    table.add_row("against config.json", "{} missing, {} unexpected, {} misshaped".format(*counts))
    table.add_row("digest", found.digest)
    return table


def _profiles(found: Inspection) -> Table:
    table = _table("Profiles", "name", "fits")
    for name, reason in found.profiles.items():
        table.add_row(name, "yes" if reason is None else f"no: {reason}")
    return table
