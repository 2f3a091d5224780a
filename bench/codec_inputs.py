"""What codecs are compared on: noise and word salad for random weights, scenes for trained ones."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TYPE_CHECKING

from minireranker.scenes import draw, query_about, random_scene

from .engine import EngineBench
from .engine import draw as draw_noise

if TYPE_CHECKING:
    from minireranker import Document
    from minireranker.configs import Limits

    from .codecs import CodecBench

__all__ = ["documents", "queries"]

_WORDS = (
    *("red", "blue", "small", "large", "chart", "table", "page", "photo", "map", "street"),
    *("river", "north", "south", "revenue", "month", "bicycle", "house", "bird", "window"),
    *("signature", "invoice", "diagram", "engine", "left", "right", "above", "below"),
)


def documents(bench: CodecBench, limits: Limits) -> Sequence[Document]:
    """``bench.documents`` pictures; noise comes with random importances."""
    if bench.scenes:
        from minireranker import Document

        return [Document(image=draw(random_scene(random))) for random in _randoms(bench)]
    noise = EngineBench(
        bench.model,
        documents=bench.documents,
        side=bench.side,
        repeats=1,
        sample=1,
        seed=bench.seed,
    )
    return draw_noise(noise, limits)


def queries(bench: CodecBench) -> list[str]:
    """``bench.queries`` texts: of scenes, each true of one of the pictures."""
    if bench.scenes:
        scenes = [random_scene(random) for random in _randoms(bench)]
        random = Random(f"codecs/{bench.seed}")
        return [query_about(random.choice(scenes), random).text for _ in range(bench.queries)]
    import numpy as np

    words = np.random.default_rng([bench.seed, 1])
    return [" ".join(words.choice(_WORDS, 8)) for _ in range(bench.queries)]


def _randoms(bench: CodecBench) -> list[Random]:
    return [Random(f"codecs/{bench.seed}/{at}") for at in range(bench.documents)]
