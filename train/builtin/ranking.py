"""The reranker's phase: pairs of scenes and queries, in one of the forms a step, with hints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

import torch
import torch.nn.functional as F
from torch import Tensor

from minireranker.configs import Profile
from minireranker.engine.embedder import Embedder
from minireranker.engine.guide import Guide
from minireranker.engine.prefix import Band
from minireranker.engine.state import EngineState
from minireranker.engine.work import Meter
from minireranker.scenes import SHAPES
from minireranker.train.batch import PairBatch
from minireranker.train.forward import PairForward
from minireranker.train.trained import Trained
from minireranker.train.writing import PairWriter

from .forms import form_of
from .hints import Hinting, Hints
from .lessons import Lesson, lessons, with_importances
from .pointing import Pointing
from .practice import Phase


def band_of(form: Profile) -> Band:
    """Of a profile that says all its numbers."""
    assert form.band is not None, f"{form.name} has a band"
    assert form.exit_layer is not None, f"{form.name} has an exit"
    return Band(*form.band, form.exit_layer)


class RankingLesson:
    """Steps of the phase; call it with a step's number."""

    def __init__(
        self,
        phase: Phase,
        state: EngineState,
        trained: Trained,
        hints: Hints,
        embedder: Embedder | None,
        form: Callable[[int, int], Profile] = form_of,
    ) -> None:
        """``state``: loaded with all layers; ``embedder``: prunes, in the forms that do."""
        self._phase, self._state, self._trained, self._hints = phase, state, trained, hints
        self._embedder, self._form = embedder, form
        encode = state.prompt.tokenizer.encode
        self._shapes = frozenset(encode(f" {shape}")[-1] for shape in SHAPES)

    def __call__(self, number: int) -> tuple[Tensor, dict[str, float]]:
        """The loss of a step, and what is logged of it."""
        phase, form = self._phase, self._form(number, self._phase.seed)
        random = Random(f"{phase.name}/{phase.seed}/{number}")
        taught = lessons(random, phase.scenes, phase.queries)
        if form.keep_ratio < 1.0 and self._embedder is not None:
            taught = with_importances(taught, self._embedder)
        batch = self._batch(taught, form)
        model = self._trained.model
        pointing = Pointing.of(batch, taught, self._shapes)
        hinting = Hinting(self._hints, model.decoder, pointing)
        scores = PairForward(model, self._state.packer(Meter()), band_of(form))(batch, hinting)
        labels = torch.tensor([label for lesson in taught for label in lesson.labels])
        answer = F.binary_cross_entropy_with_logits(scores, labels)
        right = float(((scores > 0) == (labels > 0.5)).float().mean())
        figures = {form.name: right, "answer": float(answer.detach()), **hinting.right}
        return answer + torch.stack(hinting.losses).sum(), figures

    def _batch(self, taught: Sequence[Lesson], form: Profile) -> PairBatch:
        state = self._state
        guide = Guide(None, form, Meter(), (state.cache, state.namespace))
        writer = PairWriter(state.prompt, guide)
        return PairBatch.of(
            [
                writer.write(query, lesson.document, None)
                for lesson in taught
                for _, query in lesson.queries
            ]
        )
