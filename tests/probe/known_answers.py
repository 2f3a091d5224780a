"""Datasets and models whose right answer is known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from minireranker import Document, Query, Reranker
from minireranker.probe import ProbeSettings
from minireranker.relevance import Dataset

WORDS = ["red", "blue", "green", "circle", "square", "page", "chart", "table", "lamp"]
QUERIES, DOCUMENTS = 10, 6
SMALL = ProbeSettings(min_queries=6, resamples=60, pairs=QUERIES * DOCUMENTS, blocked_pairs=36)

Labels = Callable[[str, list[str]], list[float]]


def texts(seed: int) -> str:
    random = np.random.default_rng(seed)
    return " ".join(random.choice(WORDS, 4))


def dataset(labels: Labels | None = None, queries: int = QUERIES) -> Dataset:
    """Queries of words, documents of one picture size and words; random labels by default."""
    random = np.random.default_rng(3)
    asked = {f"q{at}": Query(text=texts(at)) for at in range(queries)}
    pictures = random.integers(0, 256, (queries * DOCUMENTS, 64, 64, 3), dtype=np.uint8)
    documents = {f"d{at}": Document(image=item, id=f"d{at}") for at, item in enumerate(pictures)}
    names = list(documents)
    qrels = {}
    for at, name in enumerate(asked):
        own = names[at * DOCUMENTS : (at + 1) * DOCUMENTS]
        found = labels(name, own) if labels else random.permutation(np.arange(len(own)) % 2)
        qrels[name] = dict(zip(own, map(float, found), strict=True))
    return Dataset("shapes", asked, documents, qrels, {q: list(d) for q, d in qrels.items()})


def ranked_by(reranker: Reranker, queries: int = QUERIES) -> Dataset:
    """Relevant is the half that a model scores highest: it ranks these data perfectly."""
    plain = dataset(queries=queries)

    def labels(query: str, names: list[str]) -> list[float]:
        scores = reranker.score(plain.queries[query], [plain.documents[n] for n in names])[0]
        return [float(score > np.median(scores)) for score in scores]

    return dataset(labels, queries)


def load(path: Path, profile: str = "dense", **options: Any) -> Reranker:
    return Reranker.from_pretrained(path, profile=profile, dtype="float32", **options)
