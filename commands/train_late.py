"""``minireranker train metaembed`` and ``train smart``: the retrieval side, on one's own data."""

from __future__ import annotations

import dataclasses
import json as json_text
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from minireranker.train.late.settings import MetaEmbedSettings, SmartSettings
from minireranker.train.settings import Lora

if TYPE_CHECKING:
    from minireranker.train.late.result import LateResult

__all__ = ["metaembed", "smart"]

_Data = Annotated[
    list[str],
    typer.Option("--data", "-d", help="JSONL of judged pairs, or a dataset folder; several times."),
]
_HeldOut = Annotated[
    list[str] | None,
    typer.Option(help="The same of other queries: Hit@1 and nDCG@10 over all their documents."),
]
_Model = Annotated[
    str, typer.Option("--model", "-m", help="An embedding checkpoint, a directory or hub id.")
]
_Out = Annotated[Path, typer.Option("--out", "-o", help="The run's folder; run again, it goes on.")]
_Rate = Annotated[float, typer.Option("--lr")]
_Warmup = Annotated[float, typer.Option(help="Share of the steps.")]
_Clip = Annotated[float, typer.Option(help="Norm of a gradient.")]
_Temperature = Annotated[float, typer.Option(help="Scores are divided by it.")]
_Steps = Annotated[int | None, typer.Option(help="Stop there.")]
_Queries = Annotated[int, typer.Option(help="Of a step: each one's negatives are all the others'.")]
_Negatives = Annotated[int, typer.Option(help="Judged ones that come with a query, at most.")]
_Tokens = Annotated[int, typer.Option(help="Of a pass; a step takes as many as it needs.")]
_Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")]
_Dtype = Annotated[str, typer.Option(help="auto, float32 or bfloat16.")]
_Every = Annotated[int, typer.Option(help="Steps.")]
_Json = Annotated[bool, typer.Option("--json", help="Write one JSON object to stdout.")]


def metaembed(
    context: typer.Context,
    data: _Data,
    model: _Model,
    out: _Out,
    held_out: _HeldOut = None,
    rank: Annotated[int, typer.Option(help="Of LoRA.")] = 32,
    alpha: Annotated[float, typer.Option(help="Of LoRA.")] = 32.0,
    dropout: Annotated[float, typer.Option(help="Of LoRA.")] = 0.0,
    learning_rate: _Rate = MetaEmbedSettings.learning_rate,
    warmup: _Warmup = MetaEmbedSettings.warmup,
    weight_decay: Annotated[float, typer.Option()] = MetaEmbedSettings.weight_decay,
    clip: _Clip = MetaEmbedSettings.clip,
    temperature: _Temperature = MetaEmbedSettings.temperature,
    epochs: Annotated[int, typer.Option()] = MetaEmbedSettings.epochs,
    max_steps: _Steps = None,
    batch_queries: _Queries = MetaEmbedSettings.batch_queries,
    negatives: _Negatives = MetaEmbedSettings.negatives,
    batch_tokens: _Tokens = MetaEmbedSettings.batch_tokens,
    recompute: Annotated[bool, typer.Option("--recompute", help="Gradient checkpointing.")] = False,
    seed: Annotated[int, typer.Option()] = MetaEmbedSettings.seed,
    device: _Device = "auto",
    dtype: _Dtype = "auto",
    save_every: _Every = MetaEmbedSettings.save_every,
    evaluate_every: _Every = MetaEmbedSettings.evaluate_every,
    out_dtype: Annotated[
        str | None, typer.Option(help="Of the merged checkpoint; default: as the source's.")
    ] = None,
    json: _Json = False,
) -> None:
    """Train MetaEmbed's tokens and adapters; OUT/model is then an encoder: --late metaembed."""
    from minireranker.train.late.metaembed import train_metaembed

    given = _given(context)
    lora = Lora(*(given.pop(name) for name in ("rank", "alpha", "dropout")))
    result = train_metaembed(MetaEmbedSettings(**given, lora=lora))
    advice = f"minireranker index ... --vectors DIR --late metaembed --embedder {result.model}"
    _show(result, advice, as_json=json)


def smart(
    context: typer.Context,
    data: _Data,
    model: _Model,
    out: _Out,
    held_out: _HeldOut = None,
    learning_rate: _Rate = SmartSettings.learning_rate,
    warmup: _Warmup = SmartSettings.warmup,
    weight_decay: Annotated[float, typer.Option()] = SmartSettings.weight_decay,
    clip: _Clip = SmartSettings.clip,
    temperature: _Temperature = SmartSettings.temperature,
    epochs: Annotated[int, typer.Option()] = SmartSettings.epochs,
    max_steps: _Steps = None,
    batch_queries: _Queries = SmartSettings.batch_queries,
    negatives: _Negatives = SmartSettings.negatives,
    batch_tokens: _Tokens = SmartSettings.batch_tokens,
    seed: Annotated[int, typer.Option()] = SmartSettings.seed,
    device: _Device = "auto",
    dtype: _Dtype = "auto",
    save_every: _Every = SmartSettings.save_every,
    evaluate_every: _Every = SmartSettings.evaluate_every,
    json: _Json = False,
) -> None:
    """Train an adapter for SMART's late score, the embedding model frozen: a file in OUT."""
    from minireranker.train.late.smart import train_smart

    result = train_smart(SmartSettings(**_given(context)))
    advice = (
        f"minireranker index ... --vectors DIR --late smart --embedder {model} "
        f"--adapter {result.model}"
    )
    _show(result, advice, as_json=json)


def _given(context: typer.Context) -> dict[str, Any]:
    given = dict(context.params)
    del given["json"]
    given["data"], given["held_out"] = tuple(given["data"]), tuple(given["held_out"] or ())
    return given


def _show(result: LateResult, advice: str, *, as_json: bool) -> None:
    best = result.best
    if as_json:
        facts = {
            "model": str(result.model),
            "steps": result.steps,
            "loss": result.loss,
            "best": None if best is None else best.facts(),
            "log": str(result.log),
            "skipped": [dataclasses.asdict(item) for item in result.skipped],
        }
        typer.echo(json_text.dumps(facts, indent=2))
        return
    typer.echo(f"{result.steps} steps, last loss {result.loss:.4f}; log in {result.log}")
    if best is not None:
        typer.echo(f"held out, best at step {best.step}: {best.summary()}")
        for group, figures in best.groups.items():
            named = ", ".join(f"{name} {value:.4f}" for name, value in figures.items())
            typer.echo(f"  group ({group}): {named}")
    if result.skipped:
        pairs = sum(item.pairs for item in result.skipped)
        typer.echo(f"{len(result.skipped)} contents could not be read; {pairs} pairs were skipped")
    typer.echo(advice)
