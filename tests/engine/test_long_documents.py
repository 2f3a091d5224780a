"""Documents of any length: the same entry in pieces as in one go, alone as in company, and a bound
on what reading one takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from minireranker import Document, Limits, Profile, Reranker
from minireranker.bench.oracle import FullSequenceModel
from minireranker.engine.prefix import PASS_ROWS, read_prefixes
from minireranker.engine.reading import read_content
from minireranker.engine.work import Meter
from minireranker.models.synth import synthesize

LIMITS = Limits(frame_min_pixels=4_096, frame_max_pixels=16_384, video_min_frames=2)


class Allocations(TorchDispatchMode):
    """What operations return, while it is alive: bytes at the peak, and the widest long tensor."""

    def __init__(self, many: int = 2**62) -> None:
        super().__init__()
        self.peak, self.many, self.widest = 0, many, 0
        self._alive: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                self._note(tensor)
        return out

    def _note(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        self._alive[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        self._alive = {at: kept for at, kept in self._alive.items() if not kept[0].expired()}
        self.peak = max(self.peak, sum(size for _, size in self._alive.values()))
        if tensor.ndim and tensor.shape[0] >= self.many:
            self.widest = max(self.widest, tensor[0].numel())


def first_segment(reranker: Reranker, document: Any) -> Any:
    side = read_content(Document.of(document).content, reranker.profile.limits).pruned((), 1.0)
    instruction = reranker.profile.template.instruction
    return reranker.state.prompt.first(side, instruction, is_query=False)


def entries(reranker: Reranker, documents: list[Any], rows: int, codec: str = "exact") -> Any:
    """As ``index`` would read them, so many rows at a time."""
    state = reranker.state
    packer = state.packer(Meter())
    opening = state.prompt.header(state.profile.template.instruction, False)
    segments = [first_segment(reranker, document) for document in documents]
    with torch.inference_mode():
        header = state.header(opening, packer)
        return read_prefixes(packer, header, segments, state.band, state.backend, codec, rows)


@pytest.fixture(scope="module")
def documents(picture: Callable[..., Any]) -> list[Any]:
    frames = [picture(64, 96, seed) for seed in range(9)]
    return [
        {"video": [frames], "text": "a film of " + "red and blue squares " * 12},
        {"image": [picture(160, 224), picture(64, 64, 1)]},
        " ".join(f"word {n}" for n in range(60)),
        {"text": "between"},
    ]


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
@given(data=st.data())
def test_in_pieces_it_is_the_same_entry(
    tiny: Path, documents: list[Any], data: st.DataObject
) -> None:
    high = data.draw(st.integers(1, 6))
    band = (data.draw(st.integers(0, high - 1)), high)
    profile = Profile(exit_layer=6, band=band, keep_ratio=1.0, limits=LIMITS)
    backend = data.draw(st.sampled_from(["packed", "sdpa"]))
    reranker = Reranker.from_pretrained(tiny, profile=profile, dtype="float32", backend=backend)
    rows = 16 * data.draw(st.integers(1, 8))
    whole = entries(reranker, documents, 2**20)
    for found, expected in zip(entries(reranker, documents, rows), whole, strict=True):
        assert found.fields() == expected.fields()
        for name, part in found.tensors().items():
            torch.testing.assert_close(part, expected.tensors()[name], rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("codec", ["bf16", "fp8", "int8", "int4"])
def test_codes_do_not_depend_on_how_many_layers_are_encoded_at_a_time(
    tiny: Path, documents: list[Any], codec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = Profile(exit_layer=6, band=(0, 5), keep_ratio=1.0, limits=LIMITS)
    reranker = Reranker.from_pretrained(tiny, profile=profile, dtype="float32")
    whole = entries(reranker, documents, 2**20, codec)
    for values in (1, 2 * 32 * len(first_segment(reranker, documents[0]))):
        monkeypatch.setattr("minireranker.cache.entry.ENCODED_VALUES", values)
        for found, expected in zip(entries(reranker, documents, 2**20, codec), whole, strict=True):
            for name, part in found.tensors().items():
                assert part.shape == expected.tensors()[name].shape
                same = part.contiguous().view(torch.uint8) == (
                    expected.tensors()[name].contiguous().view(torch.uint8)
                )
                assert same.all(), (name, values)


@pytest.fixture(scope="module")
def long_documents(picture: Callable[..., Any]) -> list[Any]:
    """All but the last are longer than a pass."""
    return [
        {"image": picture(1024, 1184, 1)},
        {"image": [picture(672, 672, seed) for seed in range(3)], "text": "three pages"},
        " ".join(f"item {n} of many" for n in range(400)),
        picture(64, 96),
    ]


@pytest.fixture(scope="module")
def long_reader(tiny: Path) -> Reranker:
    return Reranker.from_pretrained(tiny, profile="mini", dtype="float32")


def test_long_documents_score_as_the_full_sequence(
    oracle: FullSequenceModel, long_reader: Reranker, long_documents: list[Any]
) -> None:
    lengths = [len(first_segment(long_reader, document)) for document in long_documents]
    assert min(lengths[:-1]) > PASS_ROWS > lengths[-1]
    scores = long_reader.score("a red circle", long_documents)[0]
    expected = np.array(oracle.scores(long_reader, "a red circle", long_documents))
    assert np.abs(scores - expected).max() <= 1e-4 * expected.std()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_long_documents_score_alone_as_in_company(
    tiny: Path, long_documents: list[Any], dtype: str
) -> None:
    def score(documents: list[Any], **others: Any) -> Any:
        reranker = Reranker.from_pretrained(tiny, profile="mini", dtype=dtype, **others)
        return reranker.score("a red circle", documents)[0]

    pages, text, short = long_documents[1:]
    whole = score([pages, text, short])
    assert score([short, text, pages], batch_tokens=64)[::-1].tobytes() == whole.tobytes()
    assert score([text]).tobytes() == whole[1:2].tobytes()


def test_ten_thousand_tokens_are_read_within_a_budget(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Entry, hidden states and K/V of a layer grow with the document; all else is of some rows."""
    path = synthesize(
        tmp_path_factory.mktemp("wide") / "wide",
        "tiny",
        text={"intermediate_size": 4096, "num_attention_heads": 8},
    )
    limits = Limits(max_tokens=12_300)
    profile = Profile(exit_layer=4, band=(1, 2), keep_ratio=1.0, limits=limits)
    reranker = Reranker.from_pretrained(path, profile=profile, dtype="float32", backend="sdpa")
    document = " ".join(f"{n % 10}" for n in range(9_900))
    tokens = len(first_segment(reranker, document))
    assert tokens > 10_000 > 9 * PASS_ROWS
    hidden, kv, depth = 64, 2 * 16, 1
    entry = 2 * depth * tokens * kv * 4
    states = 4 * tokens * (2 * hidden + 2 * kv + 2 * 2 * 16)
    few = 4 * PASS_ROWS * (2 * 4096 + 4 * 8 * 16)
    mask = 4 * PASS_ROWS * tokens
    budget = entry + states + few + mask
    with Allocations(tokens) as allocated:
        reranker.index([document])
    assert allocated.peak <= budget
    assert allocated.widest <= hidden, "no product takes more than a piece"
    with Allocations() as unbounded:
        entries(reranker, [document], 4 * PASS_ROWS)
    assert unbounded.peak > 1.5 * budget, "or the budget says nothing"


def test_a_film_goes_through_the_tower_in_parts_and_only_what_is_kept_is_held(
    tiny: Path, picture: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """64 frames of 64 patches; half of their tokens kept, in some frames none."""
    profile = Profile(exit_layer=4, band=(0, 3), keep_ratio=0.5, limits=LIMITS)
    reranker = Reranker.from_pretrained(tiny, profile=profile, dtype="float32")
    frames = [picture(128, 128, seed) for seed in range(64)]
    random = np.random.default_rng(0)
    worth = random.random((32, 16)) + np.linspace(0, 1, 32)[:, None]
    content = Document(video=[frames], importances=[worth.ravel()]).content
    side = read_content(content, LIMITS).pruned([worth.ravel()], 0.5)
    segment = reranker.state.prompt.first(side, profile.template.instruction, is_query=False)
    (kept,) = segment.kept
    assert len(kept) == 256
    assert (np.bincount(kept // 16, minlength=32) == 0).any()
    features = reranker.state.packer(Meter())._features

    def read(budget: int) -> tuple[Any, int]:
        monkeypatch.setattr("minireranker.engine.features.PATCH_BUDGET", budget)
        with torch.inference_mode(), Allocations() as allocated:
            (entry,) = features.of([segment], keep=False)
        return entry.tensors(), allocated.peak

    whole, most = read(8192)
    for budget in (1, 300, 1000):
        found, peak = read(budget)
        assert all(torch.equal(found[name], whole[name]) for name in whole)
        held = sum(tensor.nbytes for tensor in found.values())
        one = max(budget, 64) * 4 * 3 * 1536
        assert peak <= held + one < most


def test_a_frame_of_more_than_the_budget_is_worked_on_in_pieces(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its pixels, states, Q, K and V are held whole; nothing as wide as an MLP or a merger is."""
    path = synthesize(
        tmp_path_factory.mktemp("tall") / "tall", "tiny", vision={"intermediate_size": 2048}
    )
    tower = Reranker.from_pretrained(path, profile="dense", dtype="float32").state.model.vision
    patches = torch.randn(40 * 26 + 24, 1536)
    grids = [(1, 40, 26), (1, 6, 4)]

    def read(piece: int) -> tuple[Any, Allocations]:
        monkeypatch.setattr("minireranker.models.qwen3_vl.vision.PIECE", piece)
        with torch.inference_mode(), Allocations(len(patches)) as allocated:
            return tower(patches, grids), allocated

    whole, wide = read(8192)
    for piece in (64, 320):
        found, allocated = read(piece)
        assert torch.equal(found.merged, whole.merged)
        assert all(map(torch.equal, found.deepstack, whole.deepstack))
        assert allocated.widest == 1536 < wide.widest


def test_the_last_piece_is_no_padding_alone(tiny: Path) -> None:
    """Packs of more than 512 rows are padded further than a row tile."""
    profile = Profile(exit_layer=6, band=(1, 4), keep_ratio=1.0, limits=LIMITS)
    reranker = Reranker.from_pretrained(tiny, profile=profile, dtype="float32")
    words = [f"word {n}" for n in range(400)]
    texts = ({"text": " ".join(words[:count])} for count in range(200, 400))
    lengths = ((len(first_segment(reranker, text)), text) for text in texts)
    document = next(text for tokens, text in lengths if tokens > 512 and -tokens % 64 >= 16)
    (found,) = entries(reranker, [document], 16)
    (expected,) = entries(reranker, [document], 2**20)
    for name, part in found.tensors().items():
        torch.testing.assert_close(part, expected.tensors()[name], rtol=1e-5, atol=2e-5)
