"""`minireranker profile probe`: what a checkpoint bears on given data, and a profile from it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from minireranker.errors import ConfigurationError
from minireranker.probe.settings import METRICS, ProbeSettings

__all__ = ["probe"]

_INTERRUPTED = 130
_DEFAULT = ProbeSettings()

_Data = Annotated[
    str,
    typer.Argument(help="A folder as BEIR and MTEB have them, or JSONL of query, document, label."),
]
_Model = Annotated[
    str, typer.Option("--model", "-m", help="A checkpoint directory, a hub id, or builtin.")
]
_Out = Annotated[
    Path, typer.Option(metavar="DIR", help="Where profile, curves and picture are written.")
]
_Profile = Annotated[str, typer.Option(help="Whose template and limits are probed.")]
_Embedder = Annotated[
    str | None,
    typer.Option("--embedder", "-e", help="An embedding checkpoint: adds the keep ratio curve."),
]
_Split = Annotated[
    str | None, typer.Option(help="Which of several qrels: train, dev. Default: test.")
]
_Queries = Annotated[int, typer.Option(min=1, help="At most so many queries, drawn at random.")]
_Pairs = Annotated[int, typer.Option(min=2, help="At most so many pairs, shared evenly.")]
_Blocked = Annotated[
    int, typer.Option(min=2, help="Of those, so many in the passes with a blocked pathway.")
]
_Step = Annotated[int, typer.Option(min=1, help="Every how many layers a pathway is blocked.")]
_Seed = Annotated[int, typer.Option(help="Of the sample and the bootstrap.")]
_Metric = Annotated[str, typer.Option(help=f"What must not be lost: {', '.join(METRICS)}.")]
_Loss = Annotated[float, typer.Option(help="How much of it an exit or a keep ratio may lose.")]
_Correlation = Annotated[
    float, typer.Option(help="How well scores with a blocked pathway must correlate with the open.")
]
_Confidence = Annotated[float, typer.Option(help="Of the bootstrap intervals that must keep both.")]
_Least = Annotated[int, typer.Option(min=2, help="With fewer queries nothing is chosen.")]
_Resamples = Annotated[int, typer.Option(min=20, help="Of the bootstrap.")]
_Batch = Annotated[int, typer.Option(min=1, help="Bounds the tokens of one pass.")]
_Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")]
_Dtype = Annotated[str, typer.Option(help="auto, float32, bfloat16 ...")]
_Figure = Annotated[bool, typer.Option(help="Draw the curves (needs matplotlib).")]


def probe(
    data: _Data,
    model: _Model,
    out: _Out = Path("probe"),
    profile: _Profile = "dense",
    embedder: _Embedder = None,
    split: _Split = None,
    queries: _Queries = _DEFAULT.queries,
    pairs: _Pairs = _DEFAULT.pairs,
    blocked_pairs: _Blocked = _DEFAULT.blocked_pairs,
    step: _Step = _DEFAULT.step,
    seed: _Seed = _DEFAULT.seed,
    metric: _Metric = _DEFAULT.metric,
    max_loss: _Loss = _DEFAULT.max_loss,
    min_correlation: _Correlation = _DEFAULT.min_correlation,
    confidence: _Confidence = _DEFAULT.confidence,
    min_queries: _Least = _DEFAULT.min_queries,
    resamples: _Resamples = _DEFAULT.resamples,
    batch_tokens: _Batch = 4_096,
    device: _Device = "auto",
    dtype: _Dtype = "auto",
    figure: _Figure = True,
) -> None:
    """Propose exit, band and keep ratio for a checkpoint, from its own behaviour on your data.

    Nothing is trained. Ctrl-C keeps what is finished.
    """
    settings = ProbeSettings(
        queries=queries,
        pairs=pairs,
        blocked_pairs=blocked_pairs,
        seed=seed,
        metric=metric,
        max_loss=max_loss,
        min_correlation=min_correlation,
        confidence=confidence,
        min_queries=min_queries,
        step=step,
        resamples=resamples,
    )
    _check(out, figure)
    from minireranker.probe import probe as run

    from .profile_probe_output import show

    result = run(
        model,
        data,
        settings,
        split=split,
        profile=profile,
        embedder=embedder,
        device=device,
        dtype=dtype,
        batch_tokens=batch_tokens,
    )
    try:
        written = result.save(out, figure=figure)
    except ConfigurationError:
        show(result, ())  # what cannot be written should at least be read
        raise
    show(result, written)
    if result.is_interrupted:
        raise typer.Exit(_INTERRUPTED)


def _check(out: Path, figure: bool) -> None:
    """What cannot be written or drawn should be known before the measuring, not after."""
    from .bench_output import check_target

    if out.exists() and not out.is_dir():
        raise ConfigurationError(f"--out {out}: not a folder; name another one")
    check_target(out / "probed.toml")
    if figure:
        from minireranker.probe.figure import require_matplotlib

        require_matplotlib()
