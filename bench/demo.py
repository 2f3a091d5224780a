"""The demo: a hundred drawn pictures, retrieved and reranked by the built-in models.

What a search does, on one screen: the embedder orders all pictures, the reranker the better half of
them, dense and in its reduced form, and the two are held against each other and against the layers
of ``transformers``. A damaged picture is named while the others are ranked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from minireranker.errors import ConfigurationError
from minireranker.scenes import draw

if TYPE_CHECKING:
    from minireranker.engine import Document, RankedDocument, Ranking, Reranker
    from minireranker.relevance import DrawnQuery

__all__ = ["DAMAGED", "Demo", "Run", "run_demo"]

DAMAGED = "damaged.png"
"""The picture that cannot be read: the first half of one."""

_SAMPLE = 5

Say = Callable[[str], None]
"""Called with a line before each step."""


@dataclass(frozen=True)
class Run:
    """One form of the reranker over what was retrieved."""

    reading: float
    """Seconds to read the pictures, once."""
    ranking: Ranking
    """Of the query, every picture having been read."""

    @property
    def seconds(self) -> float:
        """Of the query."""
        return self.ranking.timings.total


@dataclass(frozen=True)
class Demo:
    """What the demo did and found."""

    query: str
    fitting: frozenset[str]
    """Names of the pictures the query is true of."""
    retrieved: tuple[str, ...]
    """Names of all pictures that could be read, as the embedder orders them."""
    retrieving: float
    """Seconds to embed the query and to order them."""
    damaged: str
    """Which picture could not be read, and why."""
    dense: Run
    mini: Run
    sampled: int
    """Pictures of ``mini`` that were scored as full sequences as well."""
    difference: float
    """The largest difference between the two, as a share of the spread of all scores."""
    report: Path

    def places(self, names: Sequence[str | None]) -> str:
        """Where the fitting pictures stand in an order, 1 is the best: "1, 2, 5"."""
        found = [str(at) for at, name in enumerate(names, 1) if name in self.fitting]
        return ", ".join(found) or "none"


def run_demo(out: Path, count: int = 100, seed: int = 0, say: Say = lambda line: None) -> Demo:
    """Draw, retrieve, rerank, check and report, all inside the folder ``out``.

    Raises ConfigurationError for a count below 4 or a folder that cannot be written.
    """
    from minireranker.relevance import DrawnSettings, drawn_queries

    drawn = next(drawn_queries(DrawnSettings(1, count, seed)))
    say(f"drawing {count} pictures and damaging one more")
    documents, fitting = _draw(out / "pictures", drawn)
    query = drawn.query.text
    say(f"retrieving: {query}")
    retrieved, failed, retrieving = _retrieve(query, documents)
    names = [document.id for document in retrieved if document.id]
    half = retrieved[: max(4, len(retrieved) // 2)]
    say(f"reranking the first {len(half)}, dense")
    dense, _ = _rerank("dense", query, half)
    say("reranking them, mini")
    mini, reranker = _rerank("mini", query, half)
    say(f"scoring {_SAMPLE} of them as full sequences, without a cache, by transformers")
    sample = _spaced(mini.ranking.hits, _SAMPLE)
    difference = _difference(reranker, query, sample, mini.ranking)
    found = Demo(
        query,
        fitting,
        tuple(names),
        retrieving,
        failed,
        dense,
        mini,
        len(sample),
        difference,
        out / "report.html",
    )
    _report(found, reranker)
    return found


def _draw(folder: Path, drawn: DrawnQuery) -> tuple[list[Document], frozenset[str]]:
    """The pictures, one of them cut in half, and the names of those that fit."""
    from minireranker.engine import Document

    names = [f"{at:03d}.png" for at in range(len(drawn.scenes))]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, scene in zip(names, drawn.scenes, strict=True):
            draw(scene).save(folder / name)
        whole = (folder / names[0]).read_bytes()
        (folder / DAMAGED).write_bytes(whole[: len(whole) // 2])
    except OSError as error:
        raise ConfigurationError(
            f"cannot write to {folder} ({error.strerror}); free it, or name another folder"
        ) from error
    fitting = (name for name, fits in zip(names, drawn.fits, strict=True) if fits)
    return [Document(image=folder / name, id=name) for name in (*names, DAMAGED)], frozenset(
        fitting
    )


def _retrieve(query: str, documents: Sequence[Document]) -> tuple[list[Document], str, float]:
    """The pictures by their vectors' likeness to the query's, what failed, and seconds."""
    from minireranker.engine import Embedder, Query

    embedder = Embedder.from_pretrained("builtin")
    embedded = embedder.encode(documents)
    asked = embedder.encode([Query(text=query)])
    found = [
        (float(item.pooled @ asked.pooled[0]), document)
        for item, document in zip(embedded, documents, strict=True)
        if item is not None
    ]
    found.sort(key=lambda one: -one[0])
    failed = "; ".join(map(str, embedded.failed))
    return [document for _, document in found], failed, asked.timings.total


def _rerank(profile: str, query: str, documents: Sequence[Document]) -> tuple[Run, Reranker]:
    """In float32, in which exactness can be seen."""
    from minireranker.engine import Reranker

    reranker = Reranker.from_pretrained("builtin", profile=profile, dtype="float32")
    indexed = reranker.index(documents)
    reranker.rank(query, documents)  # A process's first products are its slowest.
    return Run(indexed.timings.total, reranker.rank(query, documents)), reranker


def _spaced(hits: Sequence[RankedDocument], count: int) -> list[RankedDocument]:
    """``count`` of the hits from the first to the last rank."""
    count = min(count, len(hits))
    step = (len(hits) - 1) / max(count - 1, 1)
    return [hits[round(at * step)] for at in range(count)]


def _difference(
    reranker: Reranker, query: str, sample: Sequence[RankedDocument], ranking: Ranking
) -> float:
    from .oracle import full_sequence_scores

    whole = full_sequence_scores(reranker, query, [hit.document for hit in sample])
    largest = max(abs(hit.score - score) for hit, score in zip(sample, whole, strict=True))
    spread = ranking.hits[0].score - ranking.hits[-1].score
    return largest / spread if spread else largest


def _report(demo: Demo, reranker: Reranker) -> None:
    from minireranker.report import Column, write_comparison
    from minireranker.report.tables import seconds

    total, half = len(demo.retrieved), len(demo.mini.ranking)
    notes = [
        f"{total} pictures were drawn; {len(demo.fitting)} of them fit. The embedder ordered all, "
        f"the reranker its first {half}, twice: dense, and in the reduced form, which sees half of "
        "each picture (the rest is faded) through eight of fourteen layers.",
        f"{demo.sampled} pictures, spread over the ranks, were scored again as full sequences by "
        "the layers of transformers, without a cache: the largest difference is "
        f"{demo.difference:.1e} of the spread of all scores.",
        f"Not ranked: {demo.damaged}",
    ]
    columns = [
        Column(
            name,
            f"{seconds(run.seconds)} for the query, {seconds(run.reading)} to read the pictures "
            "once",
            run.ranking,
        )
        for name, run in (("dense", demo.dense), ("mini", demo.mini))
    ]
    write_comparison(
        demo.report,
        query=demo.query,
        columns=columns,
        marked=demo.fitting,
        title="minireranker demo",
        subtitle=reranker.describe(),
        notes=notes,
        facts={
            "dense": seconds(demo.dense.seconds),
            "mini": seconds(demo.mini.seconds),
            "fitting, by the embedder": demo.places(demo.retrieved),
            "by dense": demo.places([hit.id for hit in demo.dense.ranking]),
            "by mini": demo.places([hit.id for hit in demo.mini.ranking]),
        },
    )
