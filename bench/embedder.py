"""What importances cost on top of an embedding: the same images with and without, in turns.

Before anything is timed, one image's vector and importances are held to transformers' own model
with eager attention, in float32.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from minireranker.bench.machine import describe_machine
from minireranker.errors import CheckpointError

if TYPE_CHECKING:
    from minireranker import Embedder

COSINE, RELATIVE = 0.9999, 1e-4
"""What the gate holds: at least this cosine, at most this error of an importance."""


@dataclass(frozen=True)
class EmbedderBench:
    """What to measure."""

    model: Path
    dtype: str = "bfloat16"
    documents: int = 8
    side: int = 512
    repeats: int = 5
    seed: int = 0


def run(bench: EmbedderBench, say: Callable[[str], None]) -> dict[str, Any]:
    """Gate, then time. Raises CheckpointError where ours and transformers' disagree."""
    from minireranker import Embedder

    images = draw(bench)
    say("comparing with transformers, eager attention, float32")
    agreement = compare(bench.model, images[0], "float32")
    if agreement["cosine"] < COSINE or agreement["importance_error"] > RELATIVE:
        raise CheckpointError(f"the embedder does not agree with transformers: {agreement}")
    embedder = Embedder.from_pretrained(bench.model, dtype=bench.dtype)
    say(f"embedding {bench.documents} images of {bench.side} x {bench.side}, {bench.dtype}")
    times = _interleaved(embedder, images, bench.repeats)
    plain, watched = (statistics.median(found) for found in times)
    ratios = [after / before for before, after in zip(*times, strict=True)]
    return {
        "machine": describe_machine(),
        "workload": {
            "documents": bench.documents,
            "side": bench.side,
            "dtype": bench.dtype,
            "hidden_size": embedder.hidden_size,
            "tokens": _tokens(embedder, images[0]),
        },
        "agreement": agreement,
        "seconds_plain": plain,
        "seconds_with_importances": watched,
        "cost": statistics.median(ratios) - 1.0,
        "costs": [ratio - 1.0 for ratio in ratios],
    }


def draw(bench: EmbedderBench) -> list[np.ndarray[Any, Any]]:
    """Square images of noise."""
    random = np.random.default_rng(bench.seed)
    shape = (bench.side, bench.side, 3)
    return [random.integers(0, 256, shape, dtype=np.uint8) for _ in range(bench.documents)]


def compare(path: Path, image: np.ndarray[Any, Any], dtype: str) -> dict[str, float]:
    """Cosine of the vectors and largest relative error of the importances, of one image.

    Ours in ``dtype``, theirs in float32.
    """
    import torch
    from transformers import Qwen3VLModel

    from minireranker import Document, Embedder
    from minireranker.bench.oracle import quietly
    from minireranker.engine.reading import read_content

    embedder = Embedder.from_pretrained(path, dtype=dtype)
    (found,) = embedder.encode([image], importances=True)
    assert found is not None, "noise is a picture"
    (visual,) = read_content(Document.of(image).content, embedder.limits).visuals
    patches = torch.from_numpy(visual.patches(*embedder.pixel_statistics))
    del embedder  # two models in float32 need not fit at once
    with quietly():
        model = Qwen3VLModel.from_pretrained(path, dtype=torch.float32, attn_implementation="eager")
    ids = torch.from_numpy(found.token_ids)[None]
    pads = ids == model.config.image_token_id
    with torch.inference_mode():
        out = model(
            input_ids=ids,
            mm_token_type_ids=pads.int(),
            pixel_values=patches,
            image_grid_thw=torch.tensor([visual.grid]),
            output_attentions=True,
        )
    pooled = torch.nn.functional.normalize(out.last_hidden_state[0, -1], dim=-1).numpy()
    worth = sum(layer[0, :, -1].sum(0) for layer in out.attentions)[pads[0]].numpy()
    error = np.abs(found.importances[0].ravel() - worth) / worth
    return {"cosine": float(found.pooled @ pooled), "importance_error": float(error.max())}


def _tokens(embedder: Embedder, image: np.ndarray[Any, Any]) -> int:
    (found,) = embedder.encode([image])
    assert found is not None, "noise is a picture"
    return len(found.token_ids)


def _interleaved(
    embedder: Embedder, images: Sequence[Any], repeats: int
) -> tuple[list[float], list[float]]:
    """Seconds of each repeat without and with importances; in turns, so that drift hits both."""
    times: tuple[list[float], list[float]] = ([], [])
    for repeat in range(repeats + 1):
        for watched in (False, True) if repeat % 2 else (True, False):
            start = time.perf_counter()
            embedder.encode(images, importances=watched, progress=False)
            if repeat:
                times[watched].append(time.perf_counter() - start)
    return times
