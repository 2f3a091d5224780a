"""A result as one HTML page that loads nothing: tables, figures, and the JSON it was made of."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from minireranker.errors import MissingDependencyError

from .figures import draw_figures
from .wording import ceilings, pays_from, seconds, times, verdict

__all__ = ["page"]

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2024; --soft: #5b6570; --line: #d9dee3;
  --ground: #ffffff; --card: #f6f8fa; --good: #0b7a53; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8eaed; --soft: #9aa4ae; --line: #30363d;
  --ground: #0d1117; --card: #161b22; --good: #4cc38a; --bad: #ff8f85; } }
body { margin: 0 auto; max-width: 72rem; padding: 2rem 1.25rem; background: var(--ground);
  color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; } h2 { font-size: 1.05rem; margin: 2rem 0 .5rem; }
p { margin: .25rem 0; } .soft { color: var(--soft); } .good { color: var(--good); }
.bad { color: var(--bad); } .wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { padding: .3rem .8rem .3rem 0; text-align: right; border-bottom: 1px solid var(--line);
  white-space: nowrap; } th { color: var(--soft); font-weight: 600; }
th:first-child, td:first-child { text-align: left; }
figure { margin: 0; padding: 1rem; background: var(--card); border-radius: .5rem; }
figcaption { font-weight: 600; margin-bottom: .5rem; } svg { width: 100%; height: auto; }
.grid { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(26rem, 1fr)); }
pre { overflow: auto; max-height: 30rem; padding: 1rem; background: var(--card);
  border-radius: .5rem; font-size: .8rem; }
"""


def page(result: Mapping[str, Any]) -> str:
    """The page. Without matplotlib it says so where the figures would be."""
    name = escape(f"{result['workload']['name']}, {(result['model'] or {}).get('name', '')}")
    machine = result["machine"]
    place = machine["gpu"] if result["device"]["kind"] != "cpu" else machine["cpu"]
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>minireranker bench latency: {name}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{name}</h1>",
        f'<p class="soft">{escape(result["workload"]["about"])}</p>',
        f'<p class="soft">{escape(str(place))}, {result["device"]["threads"]} threads, '
        f"{escape(result['device']['dtype'])}; minireranker {escape(machine['minireranker'])} at "
        f"{escape(str(machine['revision']))}, torch {escape(machine['torch'])}, transformers "
        f"{escape(machine['transformers'])}</p>",
        f"<p><code>{escape(machine['command'])}</code></p>",
        *_verdicts(result),
        *_runs(result),
        *_peers(result),
        *_figures(result),
        *_notes(result),
        "<h2>The result</h2><details><summary>JSON</summary><pre>",
        escape(json.dumps(result, indent=1)),
        "</pre></details></body></html>\n",
    ]
    return "\n".join(parts)


def _verdicts(result: Mapping[str, Any]) -> Iterable[str]:
    gate = result["gate"]
    if gate is None or not gate["passed"]:
        yield '<p class="bad">No timing: the scores were not shown to be equal.</p>'
    else:
        yield (
            f'<p class="good">Scores equal the full-sequence model\'s in float32: '
            f"{gate['difference_of_spread']:.1e} of their spread on {gate['pairs']} pairs, allowed "
            f"{gate['tolerance']:g}.</p>"
        )
    if not result["finished"]:
        yield f'<p class="bad">{escape(str(result["stopped"]))}: not all was measured.</p>'


def _runs(result: Mapping[str, Any]) -> Iterable[str]:
    names = ("p50", "p90", "p95", "p99", "mean")
    for target in result["targets"]:
        rows = [
            [
                f"{run['label']}, {run['cache']}",
                *(seconds(run[name]) for name in names),
                f"{run['pairs_per_second']:,.4g}",
                f"{run['queries_per_second']:,.3g}",
                "" if run["cache_hit_rate"] is None else f"{100 * run['cache_hit_rate']:.0f} %",
            ]
            for run in target["runs"]
        ]
        heads = (target["name"], *names, "pairs/s", "queries/s", "hits")
        yield from _table("Latency and throughput", heads, rows)


def _peers(result: Mapping[str, Any]) -> Iterable[str]:
    if not result["peers"]:
        return
    timed = [row for row in result["peers"] if row["seconds_a_pair"]]
    ratios = ("over ours, same pairs", "over ours, whole list")
    heads = ("beside", "a pair", "first time", *ratios, "scores", "pays from")
    turns = result["turns"]
    ours: list[list[str]] = []
    if turns is not None:
        same, whole = turns["seconds_a_pair"], turns["whole_seconds_a_pair"]
        each = {"ours, the same pairs": same, "ours, whole list": whole}
        ours = [[name, seconds(value), *[""] * 5] for name, value in each.items()]
    yield from _table("Peers, in turns with ours", heads, [*ours, *map(_peer, timed)])
    for row in result["peers"]:
        if row not in timed:
            reason = (row["reason"] or "interrupted before it was timed").splitlines()[0]
            yield f'<p class="soft">{escape(row["name"])}: {escape(reason)}</p>'


def _peer(row: Mapping[str, Any]) -> list[str]:
    return [
        row["name"],
        seconds(statistics.median(row["seconds_a_pair"])),
        seconds(statistics.median(row["cold_seconds_a_pair"])),
        times(row["ratio"]),
        times(row["scaled_ratio"]),
        verdict(row["agreement"]),
        pays_from(row),
    ]


def _table(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterable[str]:
    yield f'<h2>{escape(title)}</h2><div class="wide"><table><thead><tr>'
    yield "".join(f"<th>{escape(head)}</th>" for head in heads)
    yield "</tr></thead><tbody>"
    for row in rows:
        yield "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
    yield "</tbody></table></div>"


def _figures(result: Mapping[str, Any]) -> Iterable[str]:
    yield "<h2>Figures</h2>"
    try:
        found = draw_figures(result)
    except MissingDependencyError as error:
        yield f'<p class="soft">No figures: {escape(str(error))}.</p>'
        return
    if not found:
        yield '<p class="soft">No figures: nothing was timed.</p>'
        return
    yield '<div class="grid">'
    for title, svg in found.items():
        yield f"<figure><figcaption>{escape(title)}</figcaption>{svg}</figure>"
    yield "</div>"


def _notes(result: Mapping[str, Any]) -> Iterable[str]:
    said = list(result["settings"]["said"])
    said.append(f"percentiles: {result['settings']['percentiles']}")
    for target in result["targets"]:
        if target["index"] is not None:
            each = seconds(target["index"]["seconds_a_document"])
            said.append(f"{target['name']}: reading a document ahead takes {each}")
    if result["ceilings"] is not None:
        said.append(ceilings(result["ceilings"]))
    if result["model"] is not None:
        said.append(f"importances: {result['model']['importances']}")
    yield "<h2>To know</h2>"
    yield from (f'<p class="soft">{escape(line)}</p>' for line in said)
