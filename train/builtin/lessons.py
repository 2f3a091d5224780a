"""One step's material: scenes, several queries about each, and what the hints point at."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray

from minireranker.engine.content import Content, Document, Query
from minireranker.engine.embedder import Embedder
from minireranker.engine.reading import read_content
from minireranker.engine.work import Meter
from minireranker.errors import MinirerankerError
from minireranker.scenes import (
    COLOURS,
    GRID,
    SHAPES,
    SIZES,
    Figure,
    Scene,
    SceneQuery,
    draw,
    query_about,
    random_scene,
    wrong_query,
)

LOOKS = 1 + len(SHAPES) * len(COLOURS) * len(SIZES)
"""What a cell can show; 0 is nothing."""
CELLS = GRID * GRID
UNKNOWN = -100
"""A target that no loss looks at."""


@dataclass(frozen=True, eq=False)
class Lesson:
    """A scene, its picture, and queries about it."""

    scene: Scene
    document: Content
    queries: tuple[tuple[SceneQuery, Content], ...]

    @property
    def labels(self) -> list[float]:
        """1 for each query that is true of the scene."""
        return [float(query.matches(self.scene)) for query, _ in self.queries]

    @property
    def looks(self) -> NDArray[np.int64]:
        """[cells] what each cell shows, below LOOKS."""
        return looks_of(self.scene)

    def pointers(self, query: SceneQuery) -> list[int]:
        """The cell each phrase of a query speaks of; UNKNOWN where it is none or not clear."""
        out = []
        for phrase in query.phrases:
            found = [figure for figure in self.scene.figures if phrase.fits(figure)]
            out.append(cell(found[0]) if len(found) == 1 else UNKNOWN)
        return out


def looks_of(scene: Scene) -> NDArray[np.int64]:
    """[cells] what each cell shows, below LOOKS."""
    out = np.zeros(CELLS, np.int64)
    for figure in scene.figures:
        out[cell(figure)] = 1 + look(figure)
    return out


def cell(figure: Figure) -> int:
    """Its place in row-major order."""
    return figure.row * GRID + figure.column


def look(figure: Figure) -> int:
    """Its shape, colour and size as one number."""
    colour = SHAPES.index(figure.shape) * len(COLOURS) + COLOURS.index(figure.colour)
    return colour * len(SIZES) + SIZES.index(figure.size)


def lessons(random: Random, scenes: int, queries: int) -> list[Lesson]:
    """So many new scenes with so many queries each, half of them true."""
    return [_lesson(random, queries) for _ in range(scenes)]


def with_importances(taught: Sequence[Lesson], embedder: Embedder) -> list[Lesson]:
    """The same lessons; ``embedder`` says what each visual token is worth."""
    readings = [read_content(lesson.document, embedder.limits) for lesson in taught]
    out = []
    for lesson, worth in zip(taught, embedder.importances(readings, Meter()), strict=True):
        if isinstance(worth, MinirerankerError):
            raise worth
        content = dataclasses.replace(lesson.document, importances=worth)
        out.append(dataclasses.replace(lesson, document=content))
    return out


def _lesson(random: Random, queries: int) -> Lesson:
    scene = random_scene(random)
    asked = [
        query_about(scene, random) if at % 2 == 0 else wrong_query(scene, random)
        for at in range(queries)
    ]
    return Lesson(
        scene,
        Document(image=np.asarray(draw(scene))).content,
        tuple((query, Query(text=query.text).content) for query in asked),
    )
