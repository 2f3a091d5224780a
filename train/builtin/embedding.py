"""The embedder's phase: pictures and queries to near vectors, and an eye for what is there.

The vector is the last token's state, as the embedder gives it. Its attention to visual tokens, over
all layers and heads, is what pruning keeps by: a hint has it look at figures and not at paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minireranker.configs import Limits
from minireranker.engine.content import Content
from minireranker.engine.draft import Ints, Segment
from minireranker.engine.embedding_prompt import DEFAULT_INSTRUCTION, EmbeddingPrompt
from minireranker.engine.packing import Packer
from minireranker.engine.reading import read_content
from minireranker.models.embedder import final_norm
from minireranker.models.qwen3_vl import Decoder, Projected, Qwen3VL
from minireranker.train.attention import Attention, Meeting, causal

from .lessons import CELLS, LOOKS, lessons
from .practice import Phase

_LOOK_LAYER = 1
_NOTHING = np.empty(0, np.int64)
_SPREAD = 8
"""Prompts whose lengths differ by less go through attention together."""


class EmbeddingHints(nn.Module):
    """What reads a cell off its token, and how sharply vectors are told apart."""

    def __init__(self, width: int) -> None:
        """``width``: of the states."""
        super().__init__()
        self.look = nn.Linear(width, LOOKS)
        self.sharpness = nn.Parameter(torch.tensor(np.log(1 / 0.07), dtype=torch.float32))


@dataclass(frozen=True, eq=False)
class Read:
    """Prompts after the last layer."""

    pooled: Tensor
    """[prompts, hidden], unit length."""
    worth: Tensor
    """[pictures, cells]: attention of the last token, mean over layers and heads; or empty."""
    tokens: Tensor
    """[visual tokens, hidden] below, where cells are read off; or empty."""


class EmbeddingLesson:
    """Steps of the phase; call it with a step's number."""

    def __init__(
        self,
        phase: Phase,
        model: Qwen3VL,
        prompt: EmbeddingPrompt,
        packer: Packer,
        hints: EmbeddingHints,
    ) -> None:
        """``packer``: of ``model``."""
        self._phase, self._model, self._prompt = phase, model, prompt
        self._packer, self._hints = packer, hints

    def __call__(self, number: int) -> tuple[Tensor, dict[str, float]]:
        """The loss of a step, and what is logged of it."""
        phase = self._phase
        taught = lessons(Random(f"{phase.name}/{phase.seed}/{number}"), phase.scenes, phase.queries)
        asked = [query for lesson in taught for query, _ in lesson.queries]
        pictures = self.read_pictures([lesson.document for lesson in taught])
        texts = self.read_texts([query.text for query in asked])
        fits = torch.tensor([[q.matches(lesson.scene) for lesson in taught] for q in asked])
        near = texts.pooled @ pictures.pooled.T * self._hints.sharpness.exp().clamp(max=100.0)
        looks = torch.from_numpy(np.concatenate([lesson.looks for lesson in taught]))
        guess = self._hints.look(F.rms_norm(pictures.tokens, pictures.tokens.shape[-1:]))
        there = looks.view(-1, CELLS) > 0
        seen = (pictures.worth * there).sum(1) / pictures.worth.sum(1)
        loss = _contrast(near, fits) + 0.5 * _contrast(near.T, fits.T)
        loss = loss + 0.5 * F.cross_entropy(guess, looks) - 0.2 * seen.clamp(min=1e-6).log().mean()
        return loss, _figures(near, fits, guess, looks, pictures.worth, there)

    def read_pictures(self, pictures: Sequence[Content]) -> Read:
        """Pictures of the size of a scene."""
        readings = [read_content(picture, Limits()) for picture in pictures]
        segments = [self._prompt.segment((), r.visuals, DEFAULT_INSTRUCTION) for r in readings]
        return self._read(segments, watch=True)

    def read_texts(self, texts: Sequence[str]) -> Read:
        """Texts, at least one."""
        segments = [self._prompt.segment((text,), (), DEFAULT_INSTRUCTION) for text in texts]
        return self._read(segments, watch=False)

    def _read(self, segments: Sequence[Segment], *, watch: bool) -> Read:
        packed = self._packer.pack(segments, [0] * len(segments))
        rows = [
            np.arange(a, b) for a, b in zip(packed.cu_seqlens, packed.cu_seqlens[1:], strict=False)
        ]
        attention = _attention(rows, len(packed.x))
        last = torch.tensor([int(own[-1]) for own in rows])
        visual = np.stack([own[s.visual_rows] for own, s in zip(rows, segments, strict=True)])
        weights: list[Tensor] = []
        tokens = packed.x.new_empty(0)
        decoder, x = self._model.decoder, packed.x
        for index in range(len(decoder.layers)):
            heads = decoder.layer(index).project(x, packed.rope)
            if watch:
                weights.append(_attended(heads, last, rows, torch.from_numpy(visual)))
            x = decoder.layer(index).finish(x, attention(heads))
            if index < len(packed.injections):
                x = x + packed.injections[index]
            if watch and index == _LOOK_LAYER:
                tokens = x[torch.from_numpy(visual.ravel())]
        worth = torch.stack(weights).mean(0) if weights else x.new_empty(0)
        return Read(_unit(decoder, x[last]), worth, tokens)


def _attention(rows: Sequence[Ints], total: int) -> Attention:
    groups: dict[int, list[Meeting]] = {}
    for own in rows:
        groups.setdefault(len(own) // _SPREAD, []).append(causal(own, _NOTHING))
    return Attention(list(groups.values()), total, torch.device("cpu"))


def _attended(heads: Projected, last: Tensor, rows: Sequence[Ints], visual: Tensor) -> Tensor:
    """[pictures, cells]: weights of the last token, among all that it sees, mean over heads."""
    longest = max(map(len, rows))
    keys = torch.from_numpy(np.stack([np.pad(own, (0, longest - len(own))) for own in rows]))
    hidden = torch.arange(longest) >= torch.tensor([[len(own)] for own in rows])
    k = heads.k[keys]
    q = heads.q[last].view(len(rows), k.shape[2], -1, k.shape[3])
    logits = torch.einsum("nghd,nkgd->nghk", q, k) * k.shape[3] ** -0.5
    weights = logits.masked_fill(hidden[:, None, None], float("-inf")).softmax(-1).mean((1, 2))
    starts = torch.tensor([[int(own[0])] for own in rows])
    found: Tensor = weights.gather(1, visual - starts)
    return found


def _unit(decoder: Decoder, states: Tensor) -> Tensor:
    return F.normalize(final_norm(decoder, states), dim=-1)


def _contrast(near: Tensor, fits: Tensor) -> Tensor:
    """Each that fits against all that do not, by rows; those that nothing fits are left out."""
    apart = near.masked_fill(fits, float("-inf")).logsumexp(1, keepdim=True)
    losses = (torch.logaddexp(apart, near) - near).masked_fill(~fits, 0.0).sum(1)
    count = fits.sum(1)
    out: Tensor = (losses / count.clamp(min=1))[count > 0].mean()
    return out


def _figures(
    near: Tensor, fits: Tensor, guess: Tensor, looks: Tensor, worth: Tensor, there: Tensor
) -> dict[str, float]:
    asked = fits.any(1)
    first = fits.gather(1, near.argmax(1, keepdim=True))[asked]
    kept = there.gather(1, worth.topk(CELLS // 2, 1).indices).sum(1) == there.sum(1)
    return {
        "first": float(first.float().mean()),
        "cells": float((guess.argmax(1) == looks)[looks > 0].float().mean()),
        "all kept": float(kept.float().mean()),
    }
