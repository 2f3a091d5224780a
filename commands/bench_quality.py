"""``minireranker bench quality``: how well profiles rank a dataset with judgments."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from minireranker.errors import ConfigurationError

from .bench_output import OutOption, PngOption, check_target, clock, write_result

if TYPE_CHECKING:
    from minireranker.relevance import Dataset

__all__ = ["quality"]

_DATA = (
    "A folder with queries.jsonl, corpus.jsonl and qrels (as BEIR and MTEB have them), perhaps "
    "candidates; or a JSONL file of labelled pairs."
)
_INTERRUPTED = 130

_Model = Annotated[
    str | None, typer.Option("--model", "-m", help="A checkpoint directory, a hub id, or builtin.")
]
_Profiles = Annotated[
    list[str] | None,
    typer.Option("--profile", "-p", help="A name or a .toml; several times. Default: dense, mini."),
]
_Ablated = Annotated[
    list[str] | None,
    typer.Option("--ablate", help="One of the profiles: its exit, band, keep ratio alone too."),
]
_Embedder = Annotated[
    str | None,
    typer.Option(
        "--embedder", "-e", help="A row of its own; also says which visual tokens are kept."
    ),
]
_Keep = Annotated[
    float | None, typer.Option(help="Share of visual tokens kept by the profiles that prune.")
]
_Reference = Annotated[
    str | None, typer.Option(help="The row others are compared with. Default: dense.")
]
_Cache = Annotated[
    Path | None, typer.Option("--cache", metavar="DIR", help="Keep what is read, for a next run.")
]


def quality(
    data: Annotated[Path, typer.Argument(help=_DATA)],
    model: _Model = None,
    profiles: _Profiles = None,
    ablate: _Ablated = None,
    embedder: _Embedder = None,
    keep_ratio: _Keep = None,
    reference: _Reference = None,
    split: Annotated[str | None, typer.Option(help="Which of several qrels: test, dev.")] = None,
    queries: Annotated[int | None, typer.Option(help="At most so many, drawn.", min=1)] = None,
    depth: Annotated[int | None, typer.Option(help="At most so many candidates.", min=1)] = None,
    instruction: Annotated[str | None, typer.Option(help="The task in one sentence.")] = None,
    seed: Annotated[int, typer.Option(help="Of drawn queries and intervals.", min=0)] = 0,
    resamples: Annotated[int, typer.Option(help="Of the bootstrap.", min=1)] = 2_000,
    cache: _Cache = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 ...")] = "auto",
    out: OutOption = None,
    png: PngOption = None,
) -> None:
    """nDCG, Hit@1, MRR and agreement with the dense run, by profile, with intervals.

    Ctrl-C ends the measuring; what is finished by then is shown and written. A model that fails
    after another was measured costs its own row, and the exit code is 1.
    """
    from minireranker.bench.quality import QualityBench, run
    from minireranker.bench.quality_figures import Figures
    from minireranker.bench.quality_systems import Wanted

    from .bench_quality_output import show

    _check(out, png)
    if model is None and (profiles or ablate):
        raise ConfigurationError("profiles are of a model, and there is none; name it with --model")
    say = clock()
    dataset = _dataset(data, split, queries, depth, instruction, seed)
    wanted = Wanted(
        model,
        tuple(profiles or ("dense", "mini")),
        tuple(ablate or ()),
        embedder,
        keep_ratio,
        device,
        dtype,
        cache,
    )
    bench = QualityBench(dataset, wanted, reference, Figures(seed, resamples))
    result = run(bench, say)
    say("interrupted" if result["interrupted"] else "done")
    try:
        show(result)
    finally:  # a reader that goes away (| head) costs no result
        if out is not None:
            write_result(out, result)
        if png is not None:
            _draw(result, png)
    if result["interrupted"]:
        raise typer.Exit(_INTERRUPTED)
    if result["errors"]:
        raise typer.Exit(1)


def _check(out: Path | None, png: Path | None) -> None:
    """What would fail after the measuring should fail before."""
    from minireranker.bench.quality_chart import drawing_library

    check_target(out)
    check_target(png, "--png")
    if png is not None:
        drawing_library()


def _dataset(
    data: Path,
    split: str | None,
    queries: int | None,
    depth: int | None,
    instruction: str | None,
    seed: int,
) -> Dataset:
    from minireranker.relevance import open_dataset

    found = open_dataset(data, split=split, only_candidates=True)
    if queries is not None:
        found = found.sample(queries, seed)
    if depth is not None:
        found = found.top(depth)
    if instruction is not None:
        found = replace(found, instruction=instruction)
    return found


def _draw(result: dict[str, Any], png: Path) -> None:
    from minireranker.bench.quality_chart import draw_quality

    png.parent.mkdir(parents=True, exist_ok=True)
    draw_quality(result, png)
    typer.echo(f"written: {png}", err=True)
