"""From an opened checkpoint to a Qwen3-VL in memory, layers up to the exit only."""

from __future__ import annotations

from collections.abc import Callable

import torch

from minireranker.kernels.quantised import Kind

from .checkpoint import Checkpoint
from .qwen3_vl import Decoder, Qwen3VL, VisionTower
from .qwen3_vl.fused import fuse
from .qwen3_vl.packed import can_pack, pack
from .qwen3_vl.quantised import quantise
from .weights import load_module, load_rows


def load_model(
    checkpoint: Checkpoint,
    layers: int,
    *,
    answers: tuple[int, int] | None,
    dtype: torch.dtype,
    device: torch.device,
    products: Kind | None = None,
    fused: bool | None = False,
    step: Callable[[int], None] = lambda nbytes: None,
) -> Qwen3VL:
    """The tower, ``layers`` decoder layers, and the head ``w_yes - w_no`` in float32.

    ``answers``: token ids of yes and no; None: an embedding model, which has no head. ``products``:
    the decoder's in eight bits; else ``fused``: its layers as ``FusedLayer``; None: its weights in
    the order a CPU reads them, where there is one. ``step`` is told the bytes of every tensor read.
    Raises CheckpointError naming every tensor that does not fit.
    """
    with torch.device("meta"):
        vision = VisionTower(checkpoint.config.vision)
        decoder = Decoder(checkpoint.config.text, layers)
    load_module(checkpoint.weights, decoder, "decoder", dtype=dtype, device=device, step=step)
    load_module(checkpoint.weights, vision, "vision", dtype=dtype, device=device, step=step)
    head = None
    if answers is not None:
        rows = load_rows(checkpoint.weights, checkpoint.head_names, answers, device=device)
        head = rows[0] - rows[1]
    if products is not None:
        quantise(decoder, products)
    elif fused:
        fuse(decoder)
    elif fused is None and can_pack(dtype, device):
        pack(decoder)
    return Qwen3VL(checkpoint.config, vision.eval(), decoder.eval(), head, products)
