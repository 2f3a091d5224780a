"""The pooled vector alone, and encoders by the name of their kind."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from minireranker.engine.embedder import Embedder
from minireranker.errors import CheckpointError, ConfigurationError, NoDocumentsError
from minireranker.retrieval.late_interaction import (
    KINDS,
    Adapter,
    LateInteraction,
    MetaEmbed,
    Pooled,
    Smart,
    open_encoder,
)
from minireranker.retrieval.late_interaction.synth import synthesize_colmodernvbert


@pytest.fixture(scope="module")
def embedder(tiny: Path) -> Embedder:
    return Embedder.from_pretrained(tiny, dtype="float32")


@pytest.fixture(scope="module")
def homes(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A checkpoint for each kind."""
    root = tmp_path_factory.mktemp("homes")
    meta = shutil.copytree(tiny, root / "meta")
    MetaEmbed.initialise(Embedder.from_pretrained(meta)).save(meta)
    col = synthesize_colmodernvbert(root / "col")
    return {"pooled": tiny, "smart": tiny, "metaembed": meta, "colmodernvbert": col}


@pytest.mark.parametrize("dim", [None, 16])
def test_pooled_is_the_cosine_of_the_embedders_vectors(embedder: Embedder, dim: int | None) -> None:
    pooled, documents = Pooled(embedder, dim), ["a red circle", "a table", "one"]
    queries, encoded = pooled.encode_queries(["red", "two"]), pooled.encode_documents(documents)
    assert (encoded.vectors.cu_seqlens == 0).all()
    assert encoded.vectors.vectors.shape == (0, 0)
    left = embedder.encode(["red", "two"], dim=dim).pooled
    right = embedder.encode(documents, dim=dim).pooled
    assert right.shape[1] == pooled.pooled_dim == (dim or 64)
    wanted = left @ right.T
    np.testing.assert_allclose(pooled.score(queries, encoded.vectors), wanted, rtol=0, atol=1e-6)


def test_pooled_refuses_what_does_not_fit(embedder: Embedder) -> None:
    for dim in (0, 65, 1.5, True):
        with pytest.raises(ConfigurationError, match=r"dim = .*1 to 64"):
            Pooled(embedder, dim)  # type: ignore[arg-type]
    narrow, wide = Pooled(embedder, 8), Pooled(embedder)
    assert narrow.identity != wide.identity
    with pytest.raises(ConfigurationError, match="one encoder"):
        wide.score(wide.encode_queries("a"), narrow.encode_documents(["a"]).vectors)
    with pytest.raises(NoDocumentsError):
        wide.encode_documents([])


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_keeps_the_interface(homes: dict[str, Path], kind: str) -> None:
    encoder: LateInteraction = open_encoder(kind, homes[kind], dtype="float32")
    assert encoder.name == kind
    found = encoder.encode_documents(["a red circle", {"image": b"no"}, "a table"])
    queries = encoder.encode_queries(["red", "table", "one"])
    vectors = found.vectors
    assert found.places == (0, 2)
    assert vectors.dim == queries.dim == encoder.dim
    width = 0 if vectors.pooled is None else vectors.pooled.shape[1]
    assert width == encoder.pooled_dim
    scores = encoder.score(queries, vectors)
    assert scores.shape == (3, 2)
    assert scores.dtype == np.float32
    pooled = None if vectors.pooled is None else vectors.pooled[1:]
    rows = vectors.starts[1:], vectors.lengths[1:]
    alone = encoder.score_rows(queries, vectors.vectors, None, *rows, pooled)
    np.testing.assert_allclose(alone, scores[:, 1:], rtol=0, atol=1e-6)
    assert len(encoder.identity) == 64


def test_options_of_a_kind(homes: dict[str, Path], tmp_path: Path) -> None:
    Adapter(64).save(tmp_path / "adapter")
    smart = open_encoder("smart", homes["smart"], adapter=tmp_path / "adapter", dim=None)
    assert isinstance(smart, Smart)
    assert smart.adapter is not None
    assert open_encoder("pooled", homes["pooled"], dim=32).pooled_dim == 32
    meta = open_encoder("metaembed", homes["metaembed"], group=[2, 4], stored=16)
    assert isinstance(meta, MetaEmbed)
    assert (meta.group, meta.stored) == ((2, 4), 16)
    told = open_encoder("pooled", homes["pooled"], instruction="Represent the page.")
    assert told.identity != open_encoder("pooled", homes["pooled"]).identity


@pytest.mark.parametrize(
    ("kind", "option"),
    [("pooled", "adapter"), ("smart", "group"), ("colmodernvbert", "instruction")],
)
def test_an_option_of_another_kind_is_refused(
    homes: dict[str, Path], kind: str, option: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"{kind} has no option {option}; it has .*dtype"):
        open_encoder(kind, homes[kind], **{option: "x"})


def test_wrong_kinds_and_folders(homes: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="pooled, smart, metaembed, colmodernvbert"):
        open_encoder("colbert", homes["pooled"])
    with pytest.raises(CheckpointError, match="open it as colmodernvbert"):
        open_encoder("smart", homes["colmodernvbert"])
    with pytest.raises(CheckpointError, match="open it as pooled, smart, metaembed"):
        open_encoder("colmodernvbert", homes["smart"])
    with pytest.raises(CheckpointError, match="initialise"):
        open_encoder("metaembed", homes["smart"])
    with pytest.raises(CheckpointError, match="no config"):
        open_encoder("pooled", tmp_path)
    (tmp_path / "config.json").write_text("[" * 100_000)
    with pytest.raises(CheckpointError, match="no config"):
        open_encoder("pooled", tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(CheckpointError, match="checkpoint of bert; pooled needs qwen3_vl"):
        open_encoder("pooled", tmp_path)


def test_vectors_of_several_widths_do_not_mix(homes: dict[str, Path]) -> None:
    smart, col = (open_encoder(kind, homes[kind]) for kind in ("smart", "colmodernvbert"))
    documents: Any = col.encode_documents(["a"]).vectors
    with pytest.raises(ConfigurationError, match="one encoder"):
        smart.score(smart.encode_queries("a"), documents)
    assert torch.isfinite(documents.vectors).all()
