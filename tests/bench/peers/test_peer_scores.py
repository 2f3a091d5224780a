"""Each peer's scores are those of the unmodified full-sequence model, in float32."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from minireranker import Document, Query, Reranker
from minireranker.bench.oracle import FullSequenceModel
from minireranker.bench.peers import PeerError, PeerProcess, PeerSpec, available
from minireranker.models.hub import resolve

TOLERANCE = 1e-4
"""Of the scores' spread."""


@pytest.fixture(scope="module")
def files(
    tmp_path_factory: pytest.TempPathFactory, picture: Callable[..., Any]
) -> Callable[..., str]:
    folder = tmp_path_factory.mktemp("media")

    def write(height: int, width: int, seed: int) -> str:
        path = folder / f"{height}-{width}-{seed}.png"
        Image.fromarray(picture(height, width, seed)).save(path)
        return str(path)

    return write


@pytest.fixture(scope="module")
def queries(files: Callable[..., str]) -> list[dict[str, Any]]:
    return [{"text": "a red circle"}, {"image": files(64, 96, 1), "text": "like this one"}]


@pytest.fixture(scope="module")
def documents(files: Callable[..., str]) -> list[dict[str, Any]]:
    """Sizes that no grid has, one with two images; words; nothing; a video of odd length."""
    return [
        {"image": files(70, 101, 2)},
        {"text": "two small ships,\nand a photo. ", "image": [files(64, 64, 3), files(190, 64, 4)]},
        {"text": "a page about ships"},
        {"image": files(200, 90, 5), "text": "page 5"},
        {"text": ""},
        {"video": {"frames": [files(64, 96, seed) for seed in (6, 7, 8)]}, "text": "a film"},
    ]


def ours(content: dict[str, Any], kind: type) -> Any:
    """What goes over the wire, as this package takes it."""
    video = content.get("video")
    return kind(
        text=content.get("text") or None,
        image=content.get("image"),
        video=list(map(Image.open, video["frames"])) if video else None,
    )


class Truth:
    """The unmodified model's scores, by profile."""

    def __init__(self, checkpoint: Path, model: FullSequenceModel) -> None:
        self.checkpoint, self.model = checkpoint, model

    def scores(
        self, profile: str, query: dict[str, Any], documents: list[dict[str, Any]], task: str | None
    ) -> Any:
        reranker = Reranker.from_pretrained(self.checkpoint, profile=profile, dtype="float32")
        return np.array(
            [
                self.model.published_score(reranker, ours(query, Query), content, task)
                for content in (ours(document, Document) for document in documents)
            ]
        )


def load(peer: PeerProcess, model: Path, spec: PeerSpec, **keep: int) -> dict[str, Any]:
    peer.load(model, "float32", "cpu", 1, list(spec.methods), **keep)
    return peer.loaded()


def differences(
    peer: PeerProcess,
    spec: PeerSpec,
    truth: Truth,
    queries: list[dict[str, Any]],
    documents: list[dict[str, Any]],
) -> Iterator[tuple[str, float]]:
    """Largest difference of each method and query, as a share of the scores' spread."""
    for method, profile in spec.methods.items():
        for query, task in zip(queries, (None, "Find the colour."), strict=True):
            expected = truth.scores(profile, query, documents, task)
            for _ in range(2):  # the second time from what was kept
                found = peer.score(method, query, documents, task)
                assert found.kind == "logit"
                worst = np.abs(np.array(found.scores) - expected).max() / expected.std()
                yield method, float(worst)


def test_transformers_gives_the_published_scores(
    tiny: Path,
    oracle: FullSequenceModel,
    tmp_path: Path,
    queries: list[dict[str, Any]],
    documents: list[dict[str, Any]],
) -> None:
    spec = available(tmp_path)["transformers"]
    truth = Truth(tiny, oracle)
    with PeerProcess(spec) as peer:
        loaded = load(peer, tiny, spec)
        assert loaded["environment"] == "this interpreter"
        assert loaded["versions"]["torch"] == torch.__version__
        found = list(differences(peer, spec, truth, queries, documents))
        assert [name for name, _ in found] == [name for name in spec.methods for _ in range(4)]
        assert max(worst for _, worst in found) <= TOLERANCE, found
        for method in ("prefix", "prefix-batched"):
            again = [peer.score(method, query, documents, "New.") for query in [queries[0]] * 2]
            counts = [(each.prefixes_computed, each.prefixes_reused) for each in again]
            assert counts == [(len(documents), 0), (0, len(documents))]
            # Before words a picture goes first, and there is one of it.
            words = [{"text": f"words {number}"} for number in range(3)]
            seen = peer.score(method, queries[1], words, "New.")
            assert (seen.prefixes_computed, seen.prefixes_reused) == (1, 0)


def installed(name: str) -> PeerSpec:
    """The peer, or no test."""
    spec = available()[name]
    if spec.absence is not None:
        pytest.skip(spec.absence)
    return spec


def test_sentence_transformers_gives_the_published_scores(
    tiny: Path,
    oracle: FullSequenceModel,
    queries: list[dict[str, Any]],
    documents: list[dict[str, Any]],
) -> None:
    spec = installed("sentence-transformers")
    with PeerProcess(spec) as peer:
        load(peer, tiny, spec)
        found = list(differences(peer, spec, Truth(tiny, oracle), queries, documents))
        assert max(worst for _, worst in found) <= TOLERANCE, found


def test_vllm_gives_the_full_sequence_scores(
    tiny: Path, queries: list[dict[str, Any]], documents: list[dict[str, Any]]
) -> None:
    spec = installed("vllm")
    checkpoint = resolve("builtin")
    truth = Truth(checkpoint, FullSequenceModel(checkpoint, dtype=torch.float32))
    with PeerProcess(spec) as peer:
        with pytest.raises(PeerError, match=r"heads of 16.*--model builtin"):
            load(peer, tiny, spec)
        load(peer, checkpoint, spec, keep_bytes=2**28)
        found = list(differences(peer, spec, truth, queries, documents))
        assert max(worst for _, worst in found) <= TOLERANCE, found
