"""What a newcomer to a cascade gets wrong is said, and what the reranker had to read is told."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from minireranker import Document, Reranker
from minireranker.engine.embedder import Embedder
from minireranker.errors import ConfigurationError
from minireranker.retrieval.building import build_index
from minireranker.retrieval.cascade import Cascade
from minireranker.retrieval.late_interaction import Smart
from minireranker.retrieval.rerank import Rerank
from minireranker.retrieval.stages import Rescore, Retrieve
from minireranker.retrieval.vector_index import VectorIndex

Draw = Callable[..., Any]


@pytest.fixture(scope="module")
def embedder(tiny: Path) -> Embedder:
    return Embedder.from_pretrained(tiny, dtype="float32")


@pytest.fixture
def smart(embedder: Embedder) -> Smart:
    return Smart(embedder)


@pytest.fixture
def index(smart: Smart, tmp_path: Path) -> Iterator[VectorIndex]:
    made = VectorIndex.create(
        tmp_path / "index",
        identity=smart.identity,
        encoder=smart.name,
        dim=smart.dim,
        pooled_dim=smart.pooled_dim,
    )
    with made:
        yield made


def test_what_is_no_index_no_encoder_and_no_reranker(
    index: VectorIndex, smart: Smart, embedder: Embedder, mini: Reranker
) -> None:
    folder: Any = str(index.path)
    bare: Any = embedder
    for stage in (Retrieve, Rescore):
        with pytest.raises(ConfigurationError, match=r"index is str; pass a VectorIndex"):
            stage(folder, smart)
        with pytest.raises(ConfigurationError, match=r"is Embedder; pass .*Smart\(embedder\)"):
            stage(index, bare)
    with pytest.raises(ConfigurationError, match="is Embedder"):
        build_index(["words"], bare, index)
    with pytest.raises(ConfigurationError, match="reranker is str; pass a Reranker"):
        Rerank(folder)
    documents: Any = [Document(text="words", id="a")]
    with pytest.raises(ConfigurationError, match="documents are list; pass a mapping"):
        Rerank(mini, documents=documents)
    alone: Any = Retrieve(index, smart)
    with pytest.raises(ConfigurationError, match="stages are Retrieve; pass a list"):
        Cascade(alone)


def test_what_the_reranker_had_to_read_is_told(
    index: VectorIndex, smart: Smart, tiny: Path, picture: Draw
) -> None:
    reranker = Reranker.from_pretrained(tiny, dtype="float32", keep_ratio=1.0)
    pictures = {f"picture {at}": Document(image=picture(64, 64, at)) for at in range(4)}
    named = [{"id": name, "image": each.content.images[0]} for name, each in pictures.items()]
    build_index(named, smart, index)
    reranker.index(named[:1])
    cascade = Cascade([Retrieve(index, smart), Rerank(reranker, None, pictures)])
    first, second = cascade.search_many(["a map", "a boat"])
    for result in (first, second):
        retrieve, rerank = result.stages
        assert (retrieve.work.cache_hits, retrieve.work.cache_misses) == (0, 0)
        assert (rerank.work.cache_hits, rerank.work.cache_misses) == (1, 3)
        assert rerank.work.pair_token_layers > 0
    again = cascade.search("a map").stages[-1].work
    assert (again.cache_misses, again.vision_patches) == (0, 0)


def test_an_id_that_comes_to_stand_for_another_file_is_no_silent_loss(
    index: VectorIndex, smart: Smart, tmp_path: Path, picture: Draw, caplog: Any
) -> None:
    paths = []
    for at, folder in enumerate(("a", "b")):
        (tmp_path / folder).mkdir()
        paths.append(tmp_path / folder / "page.png")
        Image.fromarray(picture(64, 64, at)).save(paths[-1])
    time.sleep(0.06)

    def build(path: Path) -> list[str]:
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="minireranker"):
            build_index([{"id": "page.png", "image": path}], smart, index)
        return [record.getMessage() for record in caplog.records]

    assert build(paths[0]) == []
    Image.fromarray(picture(64, 64, 7)).save(paths[0])
    assert build(paths[0]) == [], "the same file, changed"
    (said,) = build(paths[1])
    assert f"'page.png' for {paths[1]}, no longer for {paths[0]}" in said
    paths[1].rename(tmp_path / "moved.png")
    assert build(tmp_path / "moved.png") == [], "a file that was moved"
