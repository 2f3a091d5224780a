"""What attention is given of a document: codes where the backend reads them, decoded once else."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from minireranker import Cache, Reranker
from minireranker.cache import PrefixEntry
from minireranker.engine.extents import Extents
from minireranker.kernels.band_attention import BACKENDS, Extent, reads_quantised

LAYERS, TOKENS, HEADS, DIM = 3, 21, 2, 16
CPU = torch.device("cpu")


@dataclasses.dataclass(frozen=True, eq=False)
class Watched(PrefixEntry):
    """An entry that notes which layers are decoded."""

    decoded: list[int] = dataclasses.field(default_factory=list)

    def layer(self, at: int) -> tuple[torch.Tensor, torch.Tensor]:
        self.decoded.append(at)
        return super().layer(at)


def document(codec: str, seed: int = 0, tokens: int = TOKENS) -> Watched:
    random = torch.Generator().manual_seed(seed)
    k, v = (torch.randn(LAYERS, tokens, HEADS, DIM, generator=random) for _ in "kv")
    return Watched.encoded(codec, k, v, span=tokens, tokens=tokens)


@pytest.mark.parametrize("codec", ["int8", "fp8"])
@pytest.mark.parametrize("tokens", [1, TOKENS])
def test_codes_times_scales_are_the_decoded_values(codec: str, tokens: int) -> None:
    entry = document(codec, tokens=tokens)
    for at in range(LAYERS):
        assert entry.kept_layers is not None
        coded = entry.kept_layers[at]
        for codes, scale, values in zip(coded[:2], coded[2:], entry.layer(at), strict=True):
            assert codes.dtype in (torch.int8, torch.float8_e4m3fn)
            assert codes.untyped_storage().data_ptr() in {
                part.untyped_storage().data_ptr() for part in entry.parts.values()
            }, "a view"
            assert scale.dtype is torch.float32
            assert scale.shape[0] in (1, tokens)
            assert scale.shape[1] == HEADS
            assert scale.shape[2] in (1, DIM)
            assert torch.equal(codes.float() * scale, values)


def test_others_are_the_values_themselves_or_have_to_be_decoded() -> None:
    exact = document("exact")
    assert exact.kept_layers is not None
    for at, kept in enumerate(exact.kept_layers):
        assert all(map(torch.equal, kept, exact.layer(at)))
    for entry in (document("bf16"), document("int4"), document("int8", tokens=0)):
        assert entry.kept_layers is None


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("codec", ["int8", "fp8", "int4"])
def test_a_backend_that_reads_codes_gets_them(backend: str, codec: str) -> None:
    entry = document(codec)
    (extent,) = Extents(backend).layer(1, [entry], continues=False)
    reads = codec != "int4" and reads_quantised(backend)
    assert (extent.k_scale is not None) == reads
    assert entry.decoded == ([] if reads else [1])


@pytest.mark.parametrize("codec", ["int4", "int8", "exact"])
def test_a_document_is_decoded_once_for_all_its_queries(codec: str) -> None:
    """Also where a batch ends among them."""
    first, second, third = (document(codec, seed) for seed in range(3))
    extents = Extents("packed")
    batches = [[first, first, second], [second, second], [second, third]]
    seen: dict[tuple[int, int], Extent] = {}
    for number, batch in enumerate(batches):
        for at in range(LAYERS):
            found = extents.layer(at, batch, continues=number < 2)
            for entry, extent in zip(batch, found, strict=True):
                assert seen.setdefault((id(entry), at), extent) is extent
    for entry in (first, second, third):
        assert entry.decoded == ([] if codec == "exact" else list(range(LAYERS)))


def test_what_no_later_batch_needs_is_let_go() -> None:
    entry = document("int4")
    extents = Extents("packed")
    extents.layer(0, [entry], continues=True)
    extents.layer(0, [entry], continues=False)
    extents.layer(0, [entry], continues=False)
    assert entry.decoded == [0, 0]


@pytest.mark.parametrize("codec", ["int8", "fp8"])
def test_scores_are_those_of_decoded_entries(
    tiny: Path, picture: Callable[..., Any], codec: str
) -> None:
    documents = [picture(64, 64 + 32 * n, n) for n in range(5)]
    queries = ["a red circle", "revenue", {"image": picture(64, 64, 9)}]

    def scores(backend: str) -> Any:
        return Reranker.from_pretrained(
            tiny, profile="mini", dtype="float32", backend=backend, cache=Cache(codec=codec)
        ).score(queries, documents)

    coded, decoded = scores("reference"), scores("packed")
    np.testing.assert_allclose(coded, decoded, atol=2e-5)
    exact = Reranker.from_pretrained(tiny, profile="mini", dtype="float32")
    assert np.abs(exact.score(queries, documents) - decoded).max() > 1e-4, "the codec shows"


class Decodings(TorchDispatchMode):
    """How often four bits are taken apart: once for K, once for V of a layer that is decoded."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func.overloadpacket is torch.ops.aten.bitwise_right_shift
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("batch_tokens", [8, 60])
@pytest.mark.parametrize("visual", ["documents", "queries"])
def test_first_segments_are_decoded_once_a_call(
    tiny: Path, picture: Callable[..., Any], batch_tokens: int, visual: str
) -> None:
    """However the batches are cut, and whichever side comes first."""
    reranker = Reranker.from_pretrained(
        tiny,
        profile="mini",
        dtype="float32",
        batch_tokens=batch_tokens,
        cache=Cache(codec="int4"),
    )
    pictures = [picture(64, 64 + 32 * n, n) for n in range(3)]
    texts = ["one", "two, which is longer", "three", "four", "five"]
    sides = (texts, pictures) if visual == "documents" else (pictures, texts)
    expected = reranker.score(*sides)
    with Decodings() as decodings:
        scores = reranker.score(*sides)
    assert decodings.count == 2 * len(reranker.state.band.prefix_layers) * len(pictures)
    assert scores.tobytes() == expected.tobytes()
