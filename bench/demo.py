"""The demo: a hundred drawn files, ranked for two queries by a model with random weights.

It shows what random weights can show: how long a query takes before and after the files have been
read once, that the cached way gives the scores of the full sequence, and that a damaged file is
named while the others are ranked. The order of the files means nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from minireranker.errors import ConfigurationError

from .drawing import Drawing, draw_corpus

if TYPE_CHECKING:
    from minireranker.engine import Document, RankedDocument, Ranking, Reranker

__all__ = ["DAMAGED", "RANDOM_WEIGHTS", "Demo", "run_demo"]

DAMAGED = "damaged-photo.jpg"
"""The file that cannot be read: the first half of a JPEG."""

RANDOM_WEIGHTS = (
    "The weights of this model are random, so the order of the files means nothing yet: what is "
    "shown is speed and exactness. With a trained checkpoint the same calls rank by content."
)

_SAMPLE = 5

Say = Callable[[str], None]
"""Called with a line before each step."""


@dataclass(frozen=True)
class Demo:
    """What the demo did and found."""

    drawings: tuple[Drawing, ...]
    queries: tuple[str, str]
    cold: Ranking
    """The first query: nothing is in the cache."""
    warm: Ranking
    """The second query: every file is, and is read again to be recognised."""
    indexed: Ranking
    """The second query once more, the files given by id: nothing is read."""
    sampled: int
    """Documents of ``warm`` that were scored as full sequences as well."""
    difference: float
    """The largest difference between the two, as a share of the spread of all scores."""
    report: Path


def run_demo(out: Path, count: int = 100, seed: int = 0, say: Say = lambda line: None) -> Demo:
    """Draw, rank twice, check and report, all inside the folder ``out``.

    ``out`` may hold an earlier demo, whose model is used again. Raises ConfigurationError for a
    count below 2 or a folder that cannot be written.
    """
    if count < 2:
        raise ConfigurationError(f"count = {count}: the demo needs at least 2 files to rank")
    say(f"drawing {count} files and damaging one more")
    drawings = draw_corpus(out / "files", count, seed)
    documents = _documents(drawings, _damage(drawings))
    reranker = _load(out / "random-checkpoint", say)
    queries = _queries(drawings)
    say(f"first query, the cache is empty: {queries[0]}")
    cold = reranker.rank(queries[0], documents)
    say(f"second query, the cache is filled: {queries[1]}")
    warm = reranker.rank(queries[1], documents)
    ids = [name for name in reranker.index(documents) if name is not None]
    indexed = reranker.rank(queries[1], ids)
    say(f"scoring {_SAMPLE} of the files as full sequences, without a cache, by transformers")
    sample = _spaced(warm.hits, _SAMPLE)
    difference = _difference(reranker, queries[1], sample, warm)
    report = out / "report.html"
    found = Demo(tuple(drawings), queries, cold, warm, indexed, len(sample), difference, report)
    _report(found, reranker)
    return found


def _damage(drawings: Sequence[Drawing]) -> Path:
    """Half of the first JPEG (the second drawing is one), as a file of its own."""
    whole = next(drawing.path for drawing in drawings if drawing.path.suffix == ".jpg")
    path = whole.with_name(DAMAGED)
    try:
        data = whole.read_bytes()
        path.write_bytes(data[: len(data) // 2])
    except OSError as error:
        raise ConfigurationError(f"cannot write {path} ({error.strerror}); free it") from error
    return path


def _documents(drawings: Sequence[Drawing], damaged: Path) -> list[Document]:
    from minireranker.engine import Document

    paths = [drawing.path for drawing in drawings]
    paths.insert(len(paths) // 2, damaged)
    return [Document(image=path, id=path.name) for path in paths]


def _load(path: Path, say: Say) -> Reranker:
    """The tiny model in float32, in which exactness can be seen, keeping every visual token.

    Which tokens to drop is an embedder's judgement, and random weights have none.
    """
    from minireranker.configs import available_profiles
    from minireranker.engine import Reranker
    from minireranker.models.synth import synthesize

    if not (path / "config.json").is_file():
        say("making a tiny model with random weights")
        synthesize(path, "tiny")
    mini = dataclasses.replace(available_profiles(path)["mini"], keep_ratio=1.0)
    return Reranker.from_pretrained(path, profile=mini, dtype="float32")


def _queries(drawings: Sequence[Drawing]) -> tuple[str, str]:
    """What one of the first files and what one of the last files shows."""
    return drawings[0].caption, drawings[-2].caption


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
    from minireranker.engine import Query
    from minireranker.report import write_report
    from minireranker.report.tables import seconds

    exact = (
        f"{demo.sampled} files, spread over the ranks, were scored again as full sequences by the "
        "layers of transformers, without a cache: the largest difference is "
        f"{demo.difference:.1e} of the spread of all scores."
    )
    write_report(
        demo.report,
        query=Query(text=demo.queries[1]),
        ranking=demo.warm,
        title="minireranker demo",
        subtitle=reranker.describe(),
        warning=RANDOM_WEIGHTS,
        notes=[exact],
        facts={
            "with an empty cache": seconds(demo.cold.timings.total),
            "with indexed files": seconds(demo.indexed.timings.total),
            "largest difference": f"{demo.difference:.1e}",
        },
        runs={
            "first query, cache empty": demo.cold,
            "second query, cache filled": demo.warm,
            "the same, files indexed": demo.indexed,
        },
    )
