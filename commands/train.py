"""``minireranker train``: a checkpoint made to fit a profile, on one's own data."""

from __future__ import annotations

import dataclasses
import json as json_text
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from minireranker.errors import ConfigurationError
from minireranker.train.settings import Lora, TrainSettings

from .train_builtin import builtin
from .train_late import metaembed, smart
from .train_mine import mine

if TYPE_CHECKING:
    from minireranker.train.training import TrainResult

__all__ = ["app"]

app = typer.Typer()
app.command()(mine)
app.command()(metaembed)
app.command()(smart)
app.command()(builtin)

_Data = Annotated[
    list[str] | None,
    typer.Option("--data", "-d", help="JSONL of judged pairs, or a dataset folder; several times."),
]
_HeldOut = Annotated[
    list[str] | None, typer.Option(help="The same of other pairs: loss and nDCG@10 at intervals.")
]
_Model = Annotated[
    str | None, typer.Option("--model", "-m", help="A checkpoint directory, a hub id, or builtin.")
]
_Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="The run's folder; run again, it goes on. Ends in OUT/model."),
]
_Embedder = Annotated[
    str | None,
    typer.Option(
        "--embedder", "-e", help="An embedding checkpoint that says which visual tokens to keep."
    ),
]
_Keep = Annotated[
    float | None, typer.Option(help="Share of visual tokens kept, instead of the profile's.")
]
_Share = Annotated[bool, typer.Option(help="Read a document once for all its queries in a batch.")]
_Recompute = Annotated[bool, typer.Option("--recompute", help="Gradient checkpointing.")]
_OutDtype = Annotated[
    str | None, typer.Option(help="Of the merged checkpoint; default: as the source's.")
]


@app.callback(invoke_without_command=True)
def train(
    context: typer.Context,
    data: _Data = None,
    model: _Model = None,
    out: _Out = None,
    profile: Annotated[str, typer.Option(help="A name, or a file that ends in .toml.")] = "mini",
    keep_ratio: _Keep = None,
    embedder: _Embedder = None,
    held_out: _HeldOut = None,
    method: Annotated[str, typer.Option(help="lora or full.")] = TrainSettings.method,
    vision: Annotated[bool, typer.Option("--vision", help="Train the tower too (full).")] = False,
    rank: Annotated[int, typer.Option(help="Of LoRA.")] = Lora.rank,
    alpha: Annotated[float, typer.Option(help="Of LoRA.")] = Lora.alpha,
    dropout: Annotated[float, typer.Option(help="Of LoRA.")] = Lora.dropout,
    learning_rate: Annotated[
        float, typer.Option("--lr", help="The highest.")
    ] = TrainSettings.learning_rate,
    warmup: Annotated[
        float, typer.Option(help="Share of the steps in which the rate rises.")
    ] = TrainSettings.warmup,
    weight_decay: Annotated[float, typer.Option(help="AdamW's.")] = TrainSettings.weight_decay,
    epochs: Annotated[int, typer.Option(help="Times through the data.")] = TrainSettings.epochs,
    max_steps: Annotated[int | None, typer.Option(help="Stop there, if that is sooner.")] = None,
    batch_pairs: Annotated[
        int, typer.Option(help="Pairs of a batch, at most.")
    ] = TrainSettings.batch_pairs,
    batch_tokens: Annotated[
        int, typer.Option(help="Tokens of a batch, at most.")
    ] = TrainSettings.batch_tokens,
    accumulate: Annotated[
        int, typer.Option(help="Batches a step and process.")
    ] = TrainSettings.accumulate,
    clip: Annotated[float, typer.Option(help="Largest norm of a gradient.")] = TrainSettings.clip,
    share: _Share = TrainSettings.share,
    recompute: _Recompute = TrainSettings.recompute,
    teacher: Annotated[str | None, typer.Option(help="A checkpoint to distill from.")] = None,
    teacher_profile: Annotated[str, typer.Option(help="The form it scores in.")] = "dense",
    distill: Annotated[
        float, typer.Option(help="The teacher's share of the loss; the labels have the rest.")
    ] = TrainSettings.distill,
    temperature: Annotated[
        float, typer.Option(help="Scores are divided by it before they meet the teacher's.")
    ] = TrainSettings.temperature,
    seed: Annotated[int, typer.Option(help="Of order and dropout.")] = TrainSettings.seed,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32 or bfloat16.")] = "auto",
    save_every: Annotated[
        int, typer.Option(help="Steps between checkpoints: what a kill costs at most.")
    ] = TrainSettings.save_every,
    evaluate_every: Annotated[
        int, typer.Option(help="Steps between looks at --held-out.")
    ] = TrainSettings.evaluate_every,
    out_dtype: _OutDtype = None,
    json: Annotated[bool, typer.Option("--json", help="Write one JSON object to stdout.")] = False,
) -> None:
    """Train a reranker in a profile's form: its exit, band and pruning are active at every step.

    Without a command: reads judged pairs, trains adapters (or all of a small model) and writes a
    checkpoint that ``rank --model`` takes. Killed and started again it goes on where it was.
    """
    given = dict(context.params)
    if context.invoked_subcommand is not None:
        return
    from minireranker.train.processes import Processes
    from minireranker.train.training import train as run

    as_json = given.pop("json")
    settings = _settings(given)
    result = run(settings)
    if not Processes(settings.device).rank:
        _show(result, as_json=as_json)


def _settings(given: dict[str, Any]) -> TrainSettings:
    for name in ("data", "model", "out"):
        if not given[name]:
            raise ConfigurationError(
                f"--{name} is missing: minireranker train --data PAIRS.jsonl --model DIR --out RUN"
            )
    lora = Lora(*(given.pop(name) for name in ("rank", "alpha", "dropout")))
    given["data"], given["held_out"] = tuple(given["data"]), tuple(given["held_out"] or ())
    return TrainSettings(**given, lora=lora)


def _show(result: TrainResult, *, as_json: bool) -> None:
    best = result.best
    if as_json:
        facts = {
            "model": str(result.model),
            "profile": result.profile,
            "steps": result.steps,
            "loss": result.loss if math.isfinite(result.loss) else None,
            "best": None if best is None else best.facts(),
            "log": str(result.log),
            "skipped": [dataclasses.asdict(item) for item in result.skipped],
        }
        typer.echo(json_text.dumps(facts, indent=2))
        return
    typer.echo(f"{result.steps} steps, last loss {result.loss:.4f}; log in {result.log}")
    if best is not None:
        figures = f"loss {best.loss:.4f}, nDCG@10 {best.ndcg:.4f}"
        typer.echo(f"held out, best at step {best.step}: {figures}")
    if result.skipped:
        pairs = sum(item.pairs for item in result.skipped)
        typer.echo(f"{len(result.skipped)} contents could not be read; {pairs} pairs were skipped")
    typer.echo(f"minireranker rank ... --model {result.model} --profile {result.profile}")
