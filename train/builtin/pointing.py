"""Where the tokens are that hints read, and what they should say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from minireranker.scenes import COLOURS, SHAPES, SIZES, Phrase
from minireranker.train.batch import PairBatch
from minireranker.train.rows import Rows

from .lessons import UNKNOWN, Lesson


@dataclass(frozen=True, eq=False)
class Pointing:
    """Tokens of a batch of pairs, scene by scene, query by query; all tensors int64."""

    batch: PairBatch
    looks: Tensor
    """[visual tokens] what the cell of each shows."""
    places: Tensor
    """[visual tokens] its cell."""
    visible: tuple[NDArray[np.int64], ...]
    """Of each scene, the cells whose tokens were kept."""
    visual_positions: Tensor
    """[3, visual tokens]"""
    phrases: tuple[tuple[int, int], ...]
    """The pair of each phrase, and the place of its last token in the second segment."""
    phrase_positions: Tensor
    """[3, phrases]"""
    words: Tensor
    """[phrases, 3] shape, colour, size; one past the last for what is not said."""
    scenes: Tensor
    """[phrases] the scene each is asked about."""
    cells: Tensor
    """[phrases] the cell it speaks of, UNKNOWN where that is none or not clear."""
    tokens: Tensor
    """[phrases] that cell's place among the tokens kept, UNKNOWN where it was not."""

    @classmethod
    def of(cls, batch: PairBatch, lessons: Sequence[Lesson], shapes: frozenset[int]) -> Pointing:
        """``batch``: every query of every lesson, in order; ``shapes``: ids that end a phrase."""
        visible = tuple(first.kept[0] for first, _ in batch.firsts)
        visual = [
            first.positions[:, first.visual_rows] + batch.headers[header].span
            for first, header in batch.firsts
        ]
        looks = [item.looks[kept] for item, kept in zip(lessons, visible, strict=True)]
        found = list(_phrases(batch, lessons, shapes))
        return cls(
            batch,
            torch.from_numpy(np.concatenate(looks)),
            torch.from_numpy(np.concatenate(visible)),
            visible,
            torch.from_numpy(np.concatenate(visual, axis=1)),
            tuple((item.pair, item.at) for item in found),
            torch.from_numpy(np.stack([item.position for item in found], axis=1)),
            torch.tensor([_words(item.phrase) for item in found]),
            torch.tensor([item.scene for item in found]),
            torch.tensor([item.cell for item in found]),
            torch.tensor([_index(visible[item.scene], item.cell) for item in found]),
        )

    def visual_rows(self, rows: Rows) -> Tensor:
        """[visual tokens] their rows."""
        parts = zip(rows.firsts, self.batch.firsts, strict=True)
        found = [own[first.visual_rows] for own, (first, _) in parts]
        return torch.from_numpy(np.concatenate(found))

    def phrase_rows(self, rows: Rows) -> Tensor:
        """[phrases] their rows: of the pair, or of the second segment that it shares."""
        seconds = rows.seconds
        whose = [pair if rows.paired else self.batch.pairs[pair][1] for pair, _ in self.phrases]
        return torch.tensor(
            [int(seconds[own][at]) for own, (_, at) in zip(whose, self.phrases, strict=True)]
        )


@dataclass(frozen=True, eq=False)
class _Found:
    pair: int
    at: int
    position: NDArray[np.int64]
    scene: int
    phrase: Phrase
    cell: int


def _phrases(
    batch: PairBatch, lessons: Sequence[Lesson], shapes: frozenset[int]
) -> Iterator[_Found]:
    asked = [(scene, query) for scene, item in enumerate(lessons) for query, _ in item.queries]
    for pair, (scene, query) in enumerate(asked):
        segment, _, start = batch.seconds[batch.pairs[pair][1]]
        ends = np.flatnonzero(np.isin(segment.input_ids, list(shapes)))
        assert len(ends) == len(query.phrases), f"{query.text}: a phrase ends in its shape"
        cells = lessons[scene].pointers(query)
        for at, phrase, cell in zip(ends, query.phrases, cells, strict=True):
            yield _Found(pair, int(at), segment.positions[:, at] + start, scene, phrase, cell)


def _words(phrase: Phrase) -> tuple[int, int, int]:
    return (
        SHAPES.index(phrase.shape),
        COLOURS.index(phrase.colour) if phrase.colour else len(COLOURS),
        SIZES.index(phrase.size) if phrase.size else len(SIZES),
    )


def _index(kept: NDArray[np.int64], cell: int) -> int:
    found = np.flatnonzero(kept == cell)
    return int(found[0]) if len(found) else UNKNOWN
