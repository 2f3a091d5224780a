"""The first phase: a vision tower that recognises figures, for reranker and embedder alike."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minireranker.configs import Limits
from minireranker.engine.pixels import image_visual
from minireranker.models.qwen3_vl import VisionTower
from minireranker.scenes import draw, random_scene

from .lessons import CELLS, LOOKS, looks_of
from .practice import Phase

_FIGURES = (4, 10)
"""More than elsewhere: most cells are worth a look."""
_LEVELS = 0.3
"""What a DeepStack map counts beside the tower's end."""


class Sight(nn.Module):
    """The tower, and what reads each visual token's cell off it."""

    def __init__(self, tower: VisionTower) -> None:
        """``tower`` is trained in place."""
        super().__init__()
        self.tower = tower
        self.look = nn.Linear(tower.config.out_hidden_size, LOOKS)
        self.place = nn.Linear(tower.config.out_hidden_size, CELLS)

    def lesson(
        self, phase: Phase, mean: tuple[float, ...], std: tuple[float, ...]
    ) -> Callable[[int], tuple[Tensor, dict[str, float]]]:
        """What a step is; ``mean``, ``std``: the checkpoint's pixel normalisation."""

        def step(number: int) -> tuple[Tensor, dict[str, float]]:
            random = Random(f"{phase.name}/{phase.seed}/{number}")
            scenes = [random_scene(random, _FIGURES) for _ in range(phase.scenes)]
            visuals = [image_visual(draw(scene), Limits()) for scene in scenes]
            patches = np.concatenate([visual.patches(mean, std) for visual in visuals])
            looks = torch.from_numpy(np.concatenate([looks_of(scene) for scene in scenes]))
            found = self.tower(torch.from_numpy(patches), [visual.grid for visual in visuals])
            places = torch.arange(CELLS).repeat(len(scenes))
            guess = self.look(_normed(found.merged))
            loss = F.cross_entropy(guess, looks)
            loss = loss + _LEVELS * F.cross_entropy(self.place(_normed(found.merged)), places)
            for level in found.deepstack:
                loss = loss + _LEVELS * F.cross_entropy(self.look(_normed(level)), looks)
            right = (guess.argmax(1) == looks)[looks > 0].float().mean()
            return loss, {"recognised": float(right)}

        return step


def _normed(x: Tensor) -> Tensor:
    return F.rms_norm(x, x.shape[-1:])
