"""How the layers of a batch attend: by one table for all of them, or layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from minireranker.cache import PrefixEntry
from minireranker.kernels.band_attention import band_attention
from minireranker.kernels.band_attention.launches import Numbers
from minireranker.kernels.band_attention.schedule import LayerRows, Schedule, Stack, bucket
from minireranker.models.qwen3_vl import Projected, Qwen3VL
from minireranker.models.qwen3_vl.decoder import Attend, padded

from .ascent import Batch
from .extents import Extents
from .prefix import Band, Header

if TYPE_CHECKING:
    from minireranker.kernels.band_attention.prepared import Prepared

__all__ = ["attend_at_once", "attend_prepared", "attend_singly", "schedule_of", "stacks_of"]


def attend_singly(
    batch: Batch, header: Header, band: Band, backend: str, extents: Extents, *, continues: bool
) -> Attend:
    """A call of ``band_attention`` a layer. ``continues``: see ``Extents``."""
    cu = list(batch.cu)

    def attend(index: int, heads: Projected) -> Tensor:
        prefixes = None
        if index in band.prefix_layers:
            at = index - band.prefix_layers.start
            prefixes = extents.layer(at, batch.documents, continues=continues)
        is_last = index == band.exit_layer - 1
        return band_attention(
            *heads,
            cu_seqlens_q=list(range(batch.pairs + 1)) if is_last else cu,
            cu_seqlens_k=cu,
            header=header.layers[index],
            prefixes=prefixes,
            backend=backend,
        )

    return attend


def attend_at_once(
    batch: Batch,
    stacks: Sequence[Stack],
    header: Header,
    band: Band,
    model: Qwen3VL,
    *,
    rows: int,
) -> Attend:
    """By one table for all layers, with the backend "triton". ``rows``: with the padding.

    Raises ConfigurationError where that cannot run.
    """
    from minireranker.kernels.band_attention.prepared import Prepared

    schedule = schedule_of(
        *(batch, stacks, header, band, model),
        rows=rows,
        pairs=padded(batch.pairs),
        room=lambda count: count,
    )
    return attend_prepared(Prepared.of(schedule, model.device), header, band)


def attend_prepared(prepared: Prepared, header: Header, band: Band) -> Attend:
    """By launches that are ready, of a ``schedule_of`` the batch."""

    def attend(index: int, heads: Projected) -> Tensor:
        out = torch.empty(heads.q.shape, dtype=heads.q.dtype, device=heads.q.device)
        prepared.attend(index - band.meeting_layer, *heads, header.layers[index], out)
        return out

    return attend


def schedule_of(
    batch: Batch,
    stacks: Sequence[Stack],
    header: Header,
    band: Band,
    model: Qwen3VL,
    *,
    rows: int,
    pairs: int,
    room: Callable[[int], int] = bucket,
) -> Schedule:
    """What all layers attend to. ``rows``, ``pairs``: of them with the padding. ``room``: as there.

    Raises ConfigurationError where the backend "triton" cannot run.
    """
    # It needs triton.
    from minireranker.kernels.band_attention import prepared

    text, seen = model.config.text, band.prefix_layers
    whole, last = tuple(batch.cu), tuple(range(batch.pairs + 1))
    group = text.num_attention_heads // text.num_key_value_heads
    layers = []
    for index in range(band.meeting_layer, band.exit_layer):
        at = index - seen.start if index in seen else None
        is_last = index == band.exit_layer - 1
        layers.append(LayerRows(last, pairs, at) if is_last else LayerRows(whole, rows, at))
    return prepared.schedule_of(
        layers,
        batch.cu,
        # Behind an empty band nothing is kept of a document.
        stacks if seen else [None] * batch.pairs,
        header=len(header.layers[0].k),
        kv_heads=text.num_key_value_heads,
        numbers=Numbers(model.dtype, text.head_dim, group),
        device=model.device,
        room=room,
    )


def stacks_of(documents: Sequence[PrefixEntry], dtype: torch.dtype) -> list[Stack] | None:
    """Each pair's document as it is kept; None where one has to be decoded for ``dtype``.

    Pairs of one document get the same stack.
    """
    made = {id(document): _stack(document, dtype) for document in documents}
    found = [made[id(document)] for document in documents]
    there = [stack for stack in found if stack is not None]
    return there if len(there) == len(found) else None


def _stack(document: PrefixEntry, dtype: torch.dtype) -> Stack | None:
    parts = document.parts
    if parts.keys() == {"k", "v"} and parts["k"].dtype is dtype:
        return Stack(parts["k"], parts["v"])
    # Scales of nothing have no shape that says what they are for.
    if parts.keys() == set(Stack._fields) and parts["k"].shape[1]:
        return Stack(*(parts[name] for name in Stack._fields))
    return None
