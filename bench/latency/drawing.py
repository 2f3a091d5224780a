"""A workload's queries and documents, drawn into files: real pixels that every contender reads.

Pictures are smooth noise, as hard to read as any other; words are those of drawn scenes.
Importances are random, one a visual token, where there is no embedder to say what each is worth.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from minireranker.scenes import query_about, random_scene

from .workload import LatencyWorkload

if TYPE_CHECKING:
    from minireranker import Document, Query
    from minireranker.configs import Limits

__all__ = ["Item", "Material", "draw_material"]

_COARSE = 16
"""Random pixels along each side of the noise that is enlarged."""


@dataclass(frozen=True)
class Item:
    """One query or document: its text, and where its pixels lie."""

    name: str
    text: str | None
    image: Path | None = None
    frames: tuple[Path, ...] = ()
    importances: Any = None
    """Float64 [rows, columns] or [frames, rows, columns]; None: left to an embedder."""

    def _fields(self) -> dict[str, Any]:
        return {
            "text": self.text,
            "image": self.image,
            "video": list(self.frames) or None,
            "importances": self.importances,
        }

    def query(self) -> Query:
        """As the engine takes it."""
        from minireranker import Query

        return Query(**self._fields())

    def document(self) -> Document:
        """As the engine takes it, under its name."""
        from minireranker import Document

        return Document(**self._fields(), id=self.name)

    def wire(self) -> dict[str, Any]:
        """As a peer takes it: text, and paths."""
        said: dict[str, Any] = {} if self.text is None else {"text": self.text}
        if self.image is not None:
            said["image"] = str(self.image)
        if self.frames:
            said["video"] = {"frames": [str(frame) for frame in self.frames]}
        return said


@dataclass(frozen=True)
class Material:
    """What a workload has drawn."""

    queries: tuple[Item, ...]
    documents: tuple[Item, ...]
    candidates: tuple[tuple[int, ...], ...]
    """Of each query, places in ``documents``."""

    @property
    def pairs(self) -> int:
        """Of all queries together."""
        return sum(map(len, self.candidates))

    def names(self, query: int, count: int | None = None) -> list[str]:
        """The first ``count`` candidates of a query, by name."""
        return [self.documents[at].name for at in self.candidates[query][:count]]

    def listed(self, query: int, count: int | None = None) -> list[Item]:
        """The same, themselves."""
        return [self.documents[at] for at in self.candidates[query][:count]]


def draw_material(
    load: LatencyWorkload, folder: Path, limits: Limits, *, importances: bool
) -> Material:
    """Draw a workload, its pictures into ``folder``. Raises MediaError as ``limits`` do.

    ``importances``: random ones for every picture, on the grid it has under ``limits``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    artist = _Artist(load, folder, limits if importances else None)
    # Pillow lets go of the interpreter while it resizes and compresses.
    with ThreadPoolExecutor(thread_name_prefix="minireranker-drawing") as pool:
        queries = pool.map(partial(artist.item, is_query=True), range(load.queries))
        documents = pool.map(partial(artist.item, is_query=False), range(load.documents))
        return Material(tuple(queries), tuple(documents), tuple(_candidates(load)))


def _candidates(load: LatencyWorkload) -> Iterator[tuple[int, ...]]:
    for query in range(load.queries):
        random = Random(f"candidates/{load.seed}/{query}")
        yield tuple(random.sample(range(load.documents), load.listed))


@dataclass(frozen=True)
class _Artist:
    """Draws items one by one, each from a seed of its own: fewer of them stay what they were."""

    load: LatencyWorkload
    folder: Path
    limits: Limits | None

    def item(self, number: int, *, is_query: bool) -> Item:
        side = "query" if is_query else "document"
        kind = self.load.query if is_query else self.load.document
        words = self.load.query_words if is_query else self.load.document_words
        name = f"{side}-{number}"
        text = _words(words, f"{name}/{self.load.seed}") if words else None
        if kind == "text":
            return Item(name, text)
        text = None if is_query else text
        frames = self._pictures(name, number, self.load.frames if kind == "video" else 1, side)
        image, frames = (None, frames) if kind == "video" else (frames[0], ())
        return Item(name, text, image, frames, self._importances(number, len(frames), side))

    def _pictures(self, name: str, number: int, count: int, side: str) -> tuple[Path, ...]:
        import numpy as np
        from PIL import Image

        random = np.random.default_rng([self.load.seed, number, int(side == "query")])
        size, paths = (self.load.width, self.load.height), []
        for at in range(count):
            coarse = random.integers(0, 256, (_COARSE, _COARSE, 3), dtype=np.uint8)
            path = self.folder / f"{name}-{at}.png"
            image = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
            image.save(path, compress_level=1)
            paths.append(path)
        return tuple(paths)

    def _importances(self, number: int, frames: int, side: str) -> Any:
        """Random numbers on the grid of visual tokens; None where they are not asked for."""
        if self.limits is None:
            return None
        import numpy as np

        random = np.random.default_rng([self.load.seed, number, int(side == "query"), 1])
        return random.random(_grid(self.load, frames, self.limits))


def _grid(load: LatencyWorkload, frames: int, limits: Limits) -> Sequence[int]:
    """Of visual tokens, as the engine will resize the pixels."""
    from minireranker.engine.pixels import FACTOR, TEMPORAL, resize_dims, video_dims

    if frames:
        taken = min(frames, limits.video_max_frames)
        height, width = video_dims(load.height, load.width, taken, limits)
        return -(-taken // TEMPORAL), height // FACTOR, width // FACTOR
    height, width = resize_dims(
        load.height,
        load.width,
        min_pixels=limits.min_pixels,
        max_pixels=limits.max_pixels,
        max_aspect_ratio=limits.max_aspect_ratio,
    )
    return height // FACTOR, width // FACTOR


def _words(count: int, seed: str) -> str:
    """So many words about drawn figures."""
    random, words = Random(seed), list[str]()
    while len(words) < count:
        words += [
            *(["and"] if words else []),
            *query_about(random_scene(random), random).text.split(),
        ]
    return " ".join(words[:count])
