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
from minireranker.models.qwen3_vl import Qwen3VL
from minireranker.models.weights import load_rows

from .lora import add_adapters, deltas
from .settings import TrainSettings

Change: TypeAlias = Callable[[Tensor], Tensor]
"""From a tensor as it is in the source checkpoint to a float32 one as it was trained."""

_ROWS = "lm_head.rows"


class Trained:
    """Parameters with a gradient, each with a float32 master that the optimizer moves.

    A parameter in float32 is its own master. Of a narrower one, gradients gather in the master (in
    float32, over all batches of a step), and ``publish`` rounds the master into the parameter: what
    is computed with is what an inference in that dtype would compute with.
    """

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
        self._parameters = dict(self._found())
        self.masters = {name: _master(p) for name, p in self._parameters.items()}

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
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                if parameter is not self.masters[name]:
                    parameter.copy_(self.masters[name])

    def load(self, masters: Mapping[str, Tensor]) -> None:
        """Put masters from a checkpoint of the same run in place."""
        assert set(masters) == set(self.masters), "a run's settings are compared before"
        with torch.no_grad():
            for name, master in self.masters.items():
                master.copy_(masters[name])
        self.publish()

    def changes(self) -> dict[str, Change]:
        """How each tensor of the source checkpoint changes, by its canonical name."""
        if self._is_lora:
            found = deltas(self._model.decoder)
            return {f"decoder.{name}": _plus(delta) for name, delta in found.items()}
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


def _master(parameter: nn.Parameter) -> Tensor:
    if parameter.dtype in (torch.float32, torch.float64):
        return parameter
    master = parameter.detach().float()

    def gather(changed: Tensor) -> None:
        assert changed.grad is not None, "called where a gradient has arrived"
        grad = changed.grad.float()
        master.grad = grad if master.grad is None else master.grad.add_(grad)
        changed.grad = None

    parameter.register_post_accumulate_grad_hook(gather)  # type: ignore[no-untyped-call]
    return master


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
