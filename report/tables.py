"""The report's tables: where the time went, what was computed, what failed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape

from minireranker.engine.types import FailedDocument, Ranking

__all__ = ["failed_table", "seconds", "stage_table"]

_ROWS: tuple[tuple[str, Callable[[Ranking], str]], ...] = (
    ("Inputs: decode, resize, tokenise", lambda run: seconds(run.timings.inputs)),
    ("Embedder: which visual tokens to keep", lambda run: seconds(run.timings.embedder)),
    ("Prefix: first segments not in the cache", lambda run: seconds(run.timings.prefix)),
    ("Suffix: second segments below the band", lambda run: seconds(run.timings.suffix)),
    ("Pairs: through the band", lambda run: seconds(run.timings.pairs)),
    ("Total", lambda run: seconds(run.timings.total)),
    ("Cache hits", lambda run: f"{run.work.cache_hits:,}"),
    ("Cache misses", lambda run: f"{run.work.cache_misses:,}"),
    ("Vision patches", lambda run: f"{run.work.vision_patches:,}"),
    ("Header token-layers", lambda run: f"{run.work.header_token_layers:,}"),
    ("Prefix token-layers", lambda run: f"{run.work.prefix_token_layers:,}"),
    ("Suffix token-layers", lambda run: f"{run.work.suffix_token_layers:,}"),
    ("Pair token-layers", lambda run: f"{run.work.pair_token_layers:,}"),
)


def seconds(value: float) -> str:
    """A duration to three digits, no finer than 10 microseconds: ``"12.3 s"``, ``"45.6 ms"``."""
    if value >= 1:
        return f"{value:.3g} s" if value < 1000 else f"{value:.0f} s"
    return f"{round(1000 * value, 2):.3g} ms"


def stage_table(runs: Mapping[str, Ranking]) -> str:
    """A ``<table>``: one row a stage or count, one column a run."""
    head = "".join(f"<th>{escape(name)}</th>" for name in runs)
    rows = "".join(
        f"<tr{' class=total' if label == 'Total' else ''}><td>{label}</td>"
        + "".join(f"<td>{value(run)}</td>" for run in runs.values())
        + "</tr>"
        for label, value in _ROWS
    )
    return f"<table><thead><tr><th></th>{head}</tr></thead><tbody>{rows}</tbody></table>"


def failed_table(failed: Sequence[FailedDocument]) -> str:
    """A ``<table>`` of the documents that could not be ranked and why."""
    rows = "".join(
        f"<tr><td>{item.index}</td><td>{escape(item.id or '')}</td>"
        f"<td>{escape(str(item.error))}</td></tr>"
        for item in failed
    )
    return f'<table class="failed"><tbody>{rows}</tbody></table>'
