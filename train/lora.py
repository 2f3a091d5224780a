"""Low-rank adapters on a decoder, through peft: put in, and merged into the weights again."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from minireranker.errors import MissingDependencyError
from minireranker.models.qwen3_vl import Decoder

from .settings import Lora

_NAME = "default"


def add_adapters(decoder: Decoder, lora: Lora, seed: int) -> None:
    """Put adapters on every target of every layer, in place; only their factors are trained.

    Factors are float32, whatever the decoder is in; the first is drawn by ``seed``, the second is
    0: the decoder computes what it did. Raises MissingDependencyError without peft.
    """
    peft = require_peft()
    config = peft.LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(lora.targets),
        bias="none",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        peft.inject_adapter_in_model(config, decoder, adapter_name=_NAME)
        for layer in _adapted(decoder).values():
            # Drawn in float32 on the CPU: one seed, one start, on any device and in any dtype.
            first = layer.lora_A[_NAME]
            drawn = torch.empty(first.weight.shape)
            torch.nn.init.kaiming_uniform_(drawn, a=5**0.5)
            first.float().weight.data.copy_(drawn)
            layer.lora_B[_NAME].float()


def deltas(decoder: Decoder) -> dict[str, Callable[[], Tensor]]:
    """What the adapters add to each weight, by the weight's own name, float32 [out, in].

    Each is multiplied out when it is called: together they are as large as the decoder.
    """
    return {f"{name}.weight": partial(_delta, layer) for name, layer in _adapted(decoder).items()}


def require_peft() -> Any:
    """The library. Raises MissingDependencyError without it."""
    try:
        import peft
    except ImportError as error:
        raise MissingDependencyError(
            "method = 'lora' needs peft: pip install 'minireranker[train]', or train with "
            "method='full' (--method full)"
        ) from error
    return peft


def _delta(layer: Any) -> Tensor:
    delta: Tensor = layer.get_delta_weight(_NAME).detach()
    return delta


def _adapted(decoder: Decoder) -> dict[str, Any]:
    layer = require_peft().tuners.lora.LoraLayer
    return {name: module for name, module in decoder.named_modules() if isinstance(module, layer)}
