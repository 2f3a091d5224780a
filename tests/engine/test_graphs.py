"""A pass over fixed memory has the bits of an ordinary one, whatever the memory held before.

Recording needs a CUDA device; what is recorded is run here as it is, on the CPU. And once more with
prepared launches, in Triton's interpreter.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from minireranker import Document, Reranker
from minireranker.cache import PrefixEntry
from minireranker.engine.ascent import Ascent, Batch
from minireranker.engine.attending import attend_singly, stacks_of
from minireranker.engine.extents import Extents
from minireranker.engine.fixed import Fixed, Room
from minireranker.engine.prefix import Header, read_prefixes
from minireranker.engine.prompt import Side
from minireranker.engine.reading import read_content
from minireranker.engine.scoring import Pair, score_pairs
from minireranker.engine.suffix import read_suffixes
from minireranker.engine.work import Meter
from minireranker.errors import ConfigurationError


class Pass:
    """Documents and queries of one reranker, as batches of pairs."""

    def __init__(self, reranker: Reranker, documents: list[Any], codec: str = "exact") -> None:
        self.state, self.meter = reranker.state, Meter()
        self._packer = self.state.packer(self.meter)
        self._instruction = self.state.profile.template.instruction
        opening = self.state.prompt.header(self._instruction, False)
        self.header: Header = self.state.header(opening, self._packer)
        sides = [self.side(item) for item in documents]
        segments = [self.state.prompt.first(s, self._instruction, is_query=False) for s in sides]
        backend, band = self.state.backend, self.state.band
        self.entries = read_prefixes(self._packer, self.header, segments, band, backend, codec)

    def side(self, item: Any) -> Side:
        content = read_content(Document.of(item).content, self.state.profile.limits)
        return content.pruned((), 1.0)

    def pairs(self, *queries: Any) -> list[Pair]:
        """Every query behind every document."""
        seconds = [self.state.prompt.second(self.side(item), is_query=True) for item in queries]
        asked = [
            (second, self.header.span + entry.span) for entry in self.entries for second in seconds
        ]
        segments, starts = zip(*asked, strict=True)
        meeting, backend = self.state.band.meeting_layer, self.state.backend
        states = read_suffixes(self._packer, self.header, segments, starts, meeting, backend)
        entries = [entry for entry in self.entries for _ in queries]
        return [Pair(entry, state) for entry, state in zip(entries, states, strict=True)]

    def scores(self, pairs: list[Pair]) -> Tensor:
        """As the engine scores them."""
        return score_pairs(
            self.state.model,
            self.header,
            pairs,
            self.state.band,
            batch_tokens=10_000,
            backend=self.state.backend,
            meter=self.meter,
            step=lambda done: None,
        )

    def fixed_scores(self, fixed: Fixed, pairs: list[Pair]) -> Tensor:
        """Over fixed memory, without recording it."""
        batch, model, band = batch_of(pairs), self.state.model, self.state.band
        fixed.fill(batch, np.arange(len(fixed.table)))
        extents = Extents(self.state.backend)
        attend = attend_singly(
            batch, self.header, band, self.state.backend, extents, continues=False
        )
        return fixed.ascent.scores(model, band, attend)[: batch.pairs]


def batch_of(pairs: list[Pair]) -> Batch:
    return Batch.of([pair.prefix for pair in pairs], [pair.suffix for pair in pairs])


@pytest.fixture(scope="module")
def visual(tiny: Path, picture: Callable[..., Any]) -> Pass:
    reranker = Reranker.from_pretrained(tiny, profile="dense", dtype="float32")
    with torch.inference_mode():
        return Pass(reranker, ["a red circle", {"image": picture(64, 96)}, "words " * 30])


@torch.inference_mode()
@pytest.mark.parametrize("profile", ["dense", "mini"])
def test_fixed_memory_gives_the_bits_of_an_ordinary_pass(
    tiny: Path, picture: Callable[..., Any], profile: str
) -> None:
    reranker = Reranker.from_pretrained(tiny, profile=profile, dtype="float32")
    work = Pass(reranker, ["a red circle", {"image": picture(64, 96)}, "words " * 30])
    first = work.pairs("round", {"image": picture(64, 64)}, "something longer than that")
    other = work.pairs("green", {"image": picture(64, 96), "text": "and"})
    fixed = Fixed(Room.of(batch_of(first)), 3, work.state.model)
    addresses = [tensor.data_ptr() for tensor in tensors_of(fixed.ascent)]
    for pairs in (first, other[:5], first[1:], other, first):
        assert torch.equal(work.fixed_scores(fixed, pairs), work.scores(pairs))
        assert fixed.table.tolist() == [0, 1, 2]
    assert [tensor.data_ptr() for tensor in tensors_of(fixed.ascent)] == addresses


def tensors_of(ascent: Ascent) -> list[Tensor]:
    maps = [found for found in ascent.injections if found is not None]
    return [ascent.states, ascent.rope.cos, ascent.rope.sin, ascent.rows, ascent.last, *maps]


@torch.inference_mode()
def test_what_earlier_batches_left_reaches_no_score(visual: Pass) -> None:
    pairs = visual.pairs("round", "a longer query than the other one")
    fixed = Fixed(Room.of(batch_of(pairs)), 0, visual.state.model)
    visual.fixed_scores(fixed, pairs)
    for kept in (fixed.ascent.states, fixed.ascent.rope.cos, fixed.ascent.rope.sin):
        kept.fill_(float("nan"))
    few = pairs[:2]
    assert torch.equal(visual.fixed_scores(fixed, few), visual.scores(few))


@torch.inference_mode()
def test_batches_of_about_a_size_take_the_same_room(visual: Pass) -> None:
    pairs = visual.pairs("round", "green", "something longer")
    room = Room.of(batch_of(pairs))
    assert room == Room.of(batch_of(pairs[1:]))
    assert room.rows >= sum(pair.tokens for pair in pairs)
    assert room.rows % 16 == room.states % 16 == room.pairs % 16 == 0
    many = Room.of(batch_of(pairs * 9))
    assert many.rows > room.rows
    assert many.states == room.states, "the same states serve them"


@torch.inference_mode()
@pytest.mark.parametrize(
    ("codec", "dtype", "there"),
    [
        ("exact", torch.float32, True),
        ("exact", torch.bfloat16, False),
        ("bf16", torch.float32, False),
        ("bf16", torch.bfloat16, True),
        ("int8", torch.float32, True),
        ("fp8", torch.bfloat16, True),
        ("int4", torch.float32, False),
    ],
)
def test_documents_are_read_as_they_are_kept_or_not_at_all(
    visual: Pass, codec: str, dtype: torch.dtype, there: bool
) -> None:
    k, v = torch.randn(2, 3, 5, 2, 16)
    entry = PrefixEntry.encoded(codec, k, v, span=5, tokens=5)
    found = stacks_of([entry, entry], dtype)
    assert (found is not None) is there
    if found is not None:
        assert found[0] is found[1]
        for at in range(3):
            extent, values = found[0].layer(at), entry.layer(at)
            for codes, scale, expected in zip(extent[:2], extent[2:], values, strict=True):
                decoded = codes if scale is None else codes.float() * scale
                assert torch.equal(decoded.to(expected.dtype), expected)


def test_prepared_launches_score_as_single_ones_do(tiny: Path) -> None:
    pytest.importorskip("triton", reason="triton is not installed")
    script = Path(__file__).with_name("graphs_interpreted.py")
    done = subprocess.run(
        [sys.executable, "-P", "-W", "error", str(script), str(tiny)],
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["int8"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@torch.inference_mode()
@pytest.mark.parametrize("codec", ["exact", "int8"])
def test_a_recorded_pass_scores_as_the_fixed_one_does(tiny: Path, codec: str) -> None:
    from minireranker.engine.graphs import Graphs

    reranker = Reranker.from_pretrained(
        tiny, profile="mini", dtype="bfloat16", device="cuda", backend="triton"
    )
    work = Pass(reranker, ["a red circle", "words " * 30], codec)
    graphs = Graphs(work.state.model, work.state.band)
    batches = [work.pairs("round", "green"), work.pairs("long", "longer")]
    assert graphs.scores(work.header, batch_of(batches[0])) is None, "what comes once is not"
    for pairs in (*batches, batches[0]):
        found = graphs.scores(work.header, batch_of(pairs))
        fixed = Fixed(Room.of(batch_of(pairs)), 0, work.state.model)
        assert found is not None
        assert torch.equal(found, work.fixed_scores(fixed, pairs))
    assert len(graphs._passes) == 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@torch.inference_mode()
def test_passes_of_two_streams_take_turns(tiny: Path) -> None:
    """They share the pool's memory, whichever batches they were recorded for."""
    from minireranker.engine.graphs import Graphs

    reranker = Reranker.from_pretrained(
        tiny, profile="mini", dtype="bfloat16", device="cuda", backend="triton"
    )
    work = Pass(reranker, ["a red circle", "words " * 30])
    graphs = Graphs(work.state.model, work.state.band)
    batches = [batch_of(work.pairs("round")), batch_of(work.pairs("words " * 60) * 9)]
    for batch in batches * 2:
        graphs.scores(work.header, batch)
    assert len(graphs._passes) == 2
    streams: list[Any] = [torch.cuda.Stream() for _ in batches]  # type: ignore[no-untyped-call]
    torch.cuda.synchronize()
    for stream, batch in zip(streams, batches, strict=True):
        with torch.cuda.stream(stream):
            if stream is streams[0]:
                torch.cuda._sleep(2**30)  # type: ignore[no-untyped-call]
            assert graphs.scores(work.header, batch) is not None
    streams[1].synchronize()
    assert streams[0].query(), "the second had to wait for the first"


def test_nothing_is_recorded_where_it_cannot_be(tiny: Path) -> None:
    reranker = Reranker.from_pretrained(tiny, profile="mini", dtype="float32")
    assert reranker.state.graphs is None
    with pytest.raises(ConfigurationError, match=r"CUDA .* 'triton', not with 'packed' on cpu"):
        Reranker.from_pretrained(tiny, profile="mini", device="cpu", backend="packed", graphs=True)
