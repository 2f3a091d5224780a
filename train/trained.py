"""What is trained of a loaded model, in which precision, and what becomes of it in a checkpoint."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

import torch
from torch import Tensor, nn

from minireranker.engine.state import EngineState
from minireranker.models.checkpoint import Checkpoint
from minireranker.models.layout import EMBEDDING, HEAD
from minireranker.models.qwen3_vl import Decoder, Qwen3VL
from minireranker.models.weights import load_rows

from .lora import add_adapters, deltas
from .masters import Masters
from .settings import TrainSettings

Change: TypeAlias = Callable[[Tensor], Tensor]
"""From a tensor as it is in the source checkpoint to a float32 one as it was trained."""

_ROWS = "lm_head.rows"


class Trained:
    """The parameters of a model that are given a gradient, and their masters."""

    def __init__(self, state: EngineState, settings: TrainSettings) -> None:
        """Makes ``state``'s model trainable, in place. Raises MissingDependencyError."""
        self._model, self._is_lora = state.model, settings.method == "lora"
        tokenizer = state.prompt.tokenizer
        self._answers = [tokenizer.yes, tokenizer.no]
        self._rows: nn.Parameter | None = None
        checkpoint = Checkpoint.open(state.checkpoint)
        self._tied = checkpoint.head_names[-1] == EMBEDDING
        if self._is_lora:
            add_adapters(state.model.decoder, settings.lora, settings.seed)
        else:
            self._open(state.model.decoder)
            if settings.vision:
                self._open(state.model.vision)
            # A checkpoint may be tied and have a head of its own: then that is the one in use.
            self._tied = self._tied and HEAD not in checkpoint.weights.tensors
            if not self._tied:
                rows = load_rows(checkpoint.weights, checkpoint.head_names, self._answers)
                self._rows = nn.Parameter(rows.to(state.model.device))
        self.kept = Masters(dict(self._found()))
        """To be moved."""
        self.masters = self.kept.tensors

    @property
    def model(self) -> Qwen3VL:
        """The model, with the head as its rows are now."""
        if self._is_lora:
            return self._model
        rows: Tensor | None = self._rows
        if rows is None:
            rows = self._model.decoder.embed_tokens.weight[self._answers]
        wide = rows.to(torch.promote_types(rows.dtype, torch.float32))
        return dataclasses.replace(self._model, head=wide[0] - wide[1])

    @property
    def count(self) -> int:
        """Numbers that are trained."""
        return sum(master.numel() for master in self.masters.values())

    def training(self, is_on: bool) -> None:
        """Dropout on or off."""
        self._model.decoder.train(is_on)

    def publish(self) -> None:
        """Masters into the parameters."""
        self.kept.publish()

    def load(self, masters: Mapping[str, Tensor]) -> None:
        """Put masters from a checkpoint of the same run in place."""
        self.kept.load(masters)

    def changes(self) -> dict[str, Change]:
        """How each tensor of the source checkpoint changes, by its canonical name."""
        if self._is_lora:
            return adapter_changes(self._model.decoder)
        changes = {name: _instead(m) for name, m in self.masters.items() if name != _ROWS}
        if self._rows is not None:
            changes[HEAD] = _with_rows(self._answers, self._rows.detach())
        return changes

    def _open(self, module: nn.Module) -> None:
        for parameter in module.parameters():
            parameter.requires_grad_(True)

    def _found(self) -> Iterator[tuple[str, nn.Parameter]]:
        for part in ("decoder", "vision"):
            for name, parameter in getattr(self._model, part).named_parameters():
                if parameter.requires_grad:
                    yield f"{part}.{name}", parameter
        if self._rows is not None:
            yield _ROWS, self._rows


def adapter_changes(decoder: Decoder) -> dict[str, Change]:
    """How adapters on a decoder change the tensors of its checkpoint, by canonical name."""
    return {f"decoder.{name}": _plus(delta) for name, delta in deltas(decoder).items()}


def _plus(delta: Callable[[], Tensor]) -> Change:
    return lambda source: source.float() + delta().to(source.device)


def _instead(master: Tensor) -> Change:
    return lambda source: master.detach().to(source.device)


def _with_rows(places: list[int], rows: Tensor) -> Change:
    def change(source: Tensor) -> Tensor:
        changed = source.float()
        changed[places] = rows.to(changed)
        return changed

    return change
