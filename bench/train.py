"""Steps of training a second: a profile's form beside the dense one, shared beside unshared.

One process, in turns: each form and way of batching takes a step on the same pairs, then all again,
so that what the machine does meanwhile hits them alike. Before anything is timed, a batch that is
shared has to have the losses of one that is not.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from minireranker.bench.machine import describe_machine, peak_memory
from minireranker.configs import Profile
from minireranker.errors import CheckpointError

if TYPE_CHECKING:
    import torch

    from minireranker.train.batch import PairBatch, WrittenPair

RELATIVE = 1e-4
"""Of the scores' spread: what the gate lets sharing change in float32."""

_WORDS = ["red", "blue", "circle", "square", "chart", "table", "page", "left", "of", "above"]


@dataclass(frozen=True)
class TrainBench:
    """What to measure."""

    model: Path
    profile: str | Profile = "mini"
    dtype: str = "float32"
    documents: int = 1
    """Of a batch."""
    queries: int = 8
    """A document."""
    side: int = 640
    words: int = 12
    """Of a query."""
    repeats: int = 3
    rank: int = 16
    recompute: bool = False
    seed: int = 0


@dataclass(eq=False)
class _Form:
    """A model in one profile, ready to take steps."""

    name: str
    pairs: list[WrittenPair]
    take: Callable[[PairBatch], float]
    scores: Callable[[PairBatch], Any]
    forget: Callable[[], None]


def run(bench: TrainBench, say: Callable[[str], None]) -> dict[str, Any]:
    """Gate, then time. Raises CheckpointError where sharing changes a score."""
    from minireranker.train.batch import PairBatch

    say("loading the dense form and the reduced one, with adapters")
    forms = [_form(bench, "dense", "dense"), _form(bench, "mini", bench.profile)]
    gate = {form.name: _difference(form) for form in forms}
    bound = RELATIVE if bench.dtype == "float32" else 0.05
    if max(gate.values()) > bound:
        raise CheckpointError(f"a shared batch has other scores than an unshared one: {gate}")
    batches = {
        (form.name, share): PairBatch.of(form.pairs, share=share)
        for form, share in product(forms, (False, True))
    }
    say(f"timing steps of {len(forms[0].pairs)} pairs")
    kept = _times(forms, batches, bench.repeats, forget=False)
    cold = _times(forms, batches, bench.repeats, forget=True)
    return {
        "machine": describe_machine(),
        "workload": _workload(bench, batches),
        "difference_of_spread": gate,
        "features_kept": _figures(kept),
        "tower_each_step": _figures(cold),
        "peak_memory_bytes": peak_memory(),
    }


def _form(bench: TrainBench, name: str, profile: str | Profile) -> _Form:
    import torch

    from minireranker import Reranker
    from minireranker.train.forward import PairForward
    from minireranker.train.loss import judgement_loss
    from minireranker.train.optimizer import Optimizer
    from minireranker.train.reading import packer
    from minireranker.train.settings import Lora, TrainSettings
    from minireranker.train.trained import Trained

    loaded = Reranker.from_pretrained(bench.model, profile=profile, dtype=bench.dtype, fused=False)
    state = loaded.state
    settings = TrainSettings(bench.model, ("-",), "-", lora=Lora(rank=bench.rank, dropout=0.0))
    trained = Trained(state, settings)
    optimizer = Optimizer(trained.masters, settings)
    features = 2**30
    pack = packer(state, frozen_bytes=features)

    def scores(batch: PairBatch) -> torch.Tensor:
        return PairForward(trained.model, pack, state.band, bench.recompute)(batch)

    def take(batch: PairBatch) -> float:
        found = scores(batch)
        labels = torch.arange(len(found), device=found.device) % 2
        loss = judgement_loss(found, labels).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step(len(found), settings.learning_rate)
        trained.publish()
        return float(loss.detach())

    def forget() -> None:
        nonlocal pack
        pack = packer(state, frozen_bytes=features)

    return _Form(name, _pairs(bench, state), take, scores, forget)


def _pairs(bench: TrainBench, state: Any) -> list[WrittenPair]:
    """Noise, and sentences of words; importances are drawn too: what is kept costs the same."""
    from minireranker.engine.content import Document, Query
    from minireranker.engine.work import Meter
    from minireranker.train.writing import PairWriter

    random = np.random.default_rng(bench.seed)
    writer = PairWriter(state.prompt, state.guide(Meter()))
    tokens = (bench.side // 32) ** 2
    pairs = []
    for _ in range(bench.documents):
        pixels = random.integers(0, 256, (bench.side, bench.side, 3), dtype=np.uint8)
        document = Document(image=pixels, importances=random.random(tokens)).content
        for _ in range(bench.queries):
            text = " ".join(random.choice(_WORDS, bench.words))
            pairs.append(writer.write(Query(text).content, document, None))
    return pairs


def _difference(form: _Form) -> float:
    """Of the scores of a shared and an unshared batch, over the spread of the scores."""
    import torch

    from minireranker.train.batch import PairBatch

    with torch.no_grad():
        shared, alone = (
            form.scores(PairBatch.of(form.pairs, share=share)).cpu().numpy()
            for share in (True, False)
        )
    return float(np.abs(shared - alone).max() / np.ptp(alone))


def _times(
    forms: list[_Form],
    batches: dict[tuple[str, bool], PairBatch],
    repeats: int,
    *,
    forget: bool,
) -> dict[tuple[str, bool], list[float]]:
    """Seconds of steps by form and sharing, after one of each that is not counted."""
    times: dict[tuple[str, bool], list[float]] = {key: [] for key in batches}
    for repeat in range(repeats + 1):
        for form, share in product(forms, (False, True)):
            if forget:
                form.forget()
            with _timed() as clock:
                form.take(batches[form.name, share])
            if repeat:
                times[form.name, share].append(clock[0])
    return times


@contextmanager
def _timed() -> Iterator[list[float]]:
    import torch

    found: list[float] = []
    start = time.perf_counter()
    yield found
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    found.append(time.perf_counter() - start)


def _figures(times: dict[tuple[str, bool], list[float]]) -> dict[str, Any]:
    median = {key: statistics.median(found) for key, found in times.items()}
    return {
        "seconds_a_step": {
            f"{name}, {'shared' if share else 'unshared'}": times[name, share]
            for name, share in times
        },
        "mini_over_dense_unshared": median["dense", False] / median["mini", False],
        "mini_over_dense_shared": median["dense", True] / median["mini", True],
        "sharing_dense": median["dense", False] / median["dense", True],
        "sharing_mini": median["mini", False] / median["mini", True],
        "all_together": median["dense", False] / median["mini", True],
    }


def _workload(bench: TrainBench, batches: dict[tuple[str, bool], PairBatch]) -> dict[str, Any]:
    tokens = {
        f"{name}, {'shared' if share else 'unshared'}": batch.tokens
        for (name, share), batch in batches.items()
    }
    return {
        "pairs": bench.documents * bench.queries,
        "queries_a_document": bench.queries,
        "visual_tokens": (bench.side // 32) ** 2,
        "dtype": bench.dtype,
        "lora_rank": bench.rank,
        "recompute": bench.recompute,
        "repeats": bench.repeats,
        "tokens_a_step": tokens,
    }
