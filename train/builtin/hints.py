"""What the answer alone teaches too slowly: losses on states inside, dropped after training.

Below the band, a visual token says what its cell shows and where it is, and the last token of a
phrase which figure it describes. At the band's start that token attends to the cell it speaks of,
and above it knows which one that was: without these two relations stay at chance.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minireranker.models.qwen3_vl import Decoder
from minireranker.scenes import COLOURS, SHAPES, SIZES
from minireranker.train.rows import Rows

from .lessons import CELLS, LOOKS, UNKNOWN
from .pointing import Pointing

LOOK_LAYER, WORD_LAYER = 2, 3
"""After these, what cells show and what phrases say can be read off."""
ATTENDING = (4, 5)
"""Layers whose first heads attend from a phrase to its cell."""
POINTING = (5, 6)
"""After these the cell can be read off the phrase."""
_HEADS = 2
_WORDS = (len(SHAPES), len(COLOURS) + 1, len(SIZES) + 1)


class Hints(nn.Module):
    """What reads the states: one product each."""

    def __init__(self, width: int) -> None:
        """``width``: of the states."""
        super().__init__()
        self.look = nn.Linear(width, LOOKS)
        self.place = nn.Linear(width, CELLS)
        self.words = nn.Linear(width, sum(_WORDS))
        self.pointers = nn.ModuleList(nn.Linear(width, CELLS) for _ in POINTING)


@dataclass
class Hinting:
    """The hints of one step, taken while its pass runs; call it as the pass's ``watch``."""

    hints: Hints
    decoder: Decoder
    pointing: Pointing
    losses: list[Tensor] = field(default_factory=list)
    right: dict[str, float] = field(default_factory=dict)
    """Shares that were guessed right."""

    def __call__(self, index: int, x: Tensor, rows: Rows) -> None:
        """See ``train.forward.Watch``."""
        told = self.pointing
        if index == LOOK_LAYER:
            tokens = x[told.visual_rows(rows)]
            self._add("cells", self.hints.look(_normed(tokens)), told.looks, 0.5)
            self._add("places", self.hints.place(_normed(tokens)), told.places, 0.2)
        if index == WORD_LAYER:
            guesses = self.hints.words(_normed(x[told.phrase_rows(rows)])).split(_WORDS, 1)
            for name, guess, words in zip(
                ("shapes", "colours", "sizes"), guesses, told.words.T, strict=True
            ):
                self._add(name, guess, words, 0.3)
        if index + 1 in ATTENDING:
            self._attend(index + 1, x, rows)
        if index in POINTING:
            head = self.hints.pointers[POINTING.index(index)]
            guess = head(_normed(x[told.phrase_rows(rows)]))
            self._add("phrases", guess, told.cells, 1.0 if index == POINTING[-1] else 0.5)

    def _attend(self, index: int, x: Tensor, rows: Rows) -> None:
        """Of the first heads of layer ``index``: the phrase's cell among its scene's tokens."""
        told, layer = self.pointing, self.decoder.layer(index)
        asking, seen = x[told.phrase_rows(rows)], x[told.visual_rows(rows)]
        q = layer.self_attn.queries(
            layer.input_layernorm(asking), self.decoder.rope(told.phrase_positions)
        )
        k, _ = layer.self_attn.keys_values(
            layer.input_layernorm(seen), self.decoder.rope(told.visual_positions)
        )
        k = k[:, 0].view(len(told.visible), -1, k.shape[-1])[told.scenes]
        logits = torch.einsum("phd,pcd->phc", q[:, :_HEADS], k) * q.shape[-1] ** -0.5
        for head in logits.unbind(1):
            self._add("attention", head, told.tokens, 0.25)

    def _add(self, name: str, guess: Tensor, wanted: Tensor, weight: float) -> None:
        if bool((wanted != UNKNOWN).any()):
            self.losses.append(weight * F.cross_entropy(guess, wanted, ignore_index=UNKNOWN))
            known = wanted != UNKNOWN
            if name == "cells":
                known &= wanted > 0
            self.right[name] = float((guess.argmax(1) == wanted)[known].float().mean())


def _normed(x: Tensor) -> Tensor:
    return F.rms_norm(x, x.shape[-1:])
