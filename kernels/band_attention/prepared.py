"""Band attention of all layers of a batch from one table on the device, sent in one copy.

Between two layers the host has nothing to work out. And what it launches depends on the table's
signature alone, not on its numbers: the launches may be recorded (a CUDA graph) and repeated with
the numbers of another batch in the same place. For the backend "triton".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Self

import torch
from torch import Tensor

from minireranker.errors import ConfigurationError
from minireranker.kernels.sending import sent

from .call import Extent, Lengths, check_extent, check_rows
from .launches import Numbers
from .schedule import LayerRows, Schedule, Stack, bucket
from .triton import check, requirement
from .triton_launch import Work, cut_of, launch, target_of

__all__ = ["Prepared", "schedule_of"]


def schedule_of(
    layers: Sequence[LayerRows],
    cu_k: Lengths,
    documents: Sequence[Stack | None],
    *,
    header: int,
    kv_heads: int,
    numbers: Numbers,
    device: torch.device,
    room: Callable[[int], int] = bucket,
) -> Schedule:
    """Everything that the layers of one batch attend to, worked out on the host.

    ``cu_k``: own tokens a row, see ``band_attention``, in every layer. ``documents``: one a row,
    the same object for rows of one document, next to each other. ``header``: its tokens. ``room``:
    how many tiles, or blocks of keys, are set aside for a number of them.

    Raises ConfigurationError where the backend "triton" cannot run, or not with these numbers, and
    ValueError for arguments that contradict each other.
    """
    reason = requirement(device)
    if reason is not None:
        raise ConfigurationError(reason)
    check(numbers)
    # Most layers have the same rows.
    for cu_q, total_q in dict.fromkeys((rows.cu_q, rows.total_q) for rows in layers):
        check_rows(cu_q, cu_k, len(documents), total_q, cu_k[-1] if cu_k else 0)
    shape = kv_heads, numbers.head_dim
    furthest = max((rows.at for rows in layers if rows.at is not None), default=0)
    for stack in {id(stack): stack for stack in documents if stack is not None}.values():
        if not 0 <= furthest < len(stack.k):
            raise ValueError(f"a document of {len(stack.k)} layers; layer {furthest} is asked for")
        check_extent(stack.layer(0), shape, numbers.dtype, device)
    cut = cut_of(numbers, target_of(device))
    return Schedule.of(layers, cu_k, documents, header=header, numbers=numbers, cut=cut, room=room)


class Prepared:
    """The layers' launches over one table on a device."""

    def __init__(self, schedule: Schedule, table: Tensor) -> None:
        """``table``: int64 on the device, of ``schedule.array``'s size; the launches read it there.

        Whose numbers it has is the caller's business: see ``adopt``.
        """
        self._schedule = schedule
        self._work = [
            Work(table, *place, schedule.aligned, schedule.stride) for place in schedule.places
        ]

    @classmethod
    def of(cls, schedule: Schedule, device: torch.device) -> Self:
        """With a table of its own, loaded."""
        return cls(schedule, sent(torch.from_numpy(schedule.array), device))

    def adopt(self, schedule: Schedule) -> None:
        """Take note that the table has, or will have, another batch's numbers.

        Its documents are kept alive from now on. Raises ValueError for another signature.
        """
        if schedule.signature != self._schedule.signature:
            raise ValueError("a schedule of another signature; prepare its launches anew")
        self._schedule = schedule

    def attend(
        self, layer: int, q: Tensor, k: Tensor, v: Tensor, header: Extent | None, out: Tensor
    ) -> None:
        """``band_attention`` of layer number ``layer`` of the schedule, into ``out``.

        ``out``: as ``q``, contiguous; all of it is written, padding tokens with zeros. The same
        bits as ``band_attention``'s. Raises ValueError for tensors of other sizes than scheduled.
        """
        total_q, tokens = self._work[layer].total_q, 0 if header is None else len(header.k)
        if len(q) != total_q or out.shape != q.shape or not out.is_contiguous():
            raise ValueError(
                f"q {tuple(q.shape)}, out {tuple(out.shape)}; layer {layer} was scheduled for "
                f"{total_q} query tokens, and out has to be contiguous"
            )
        if tokens != self._schedule.header or len(k) < self._schedule.own_tokens:
            raise ValueError(
                f"a header of {tokens} tokens and {len(k)} own ones; scheduled were "
                f"{self._schedule.header} and {self._schedule.own_tokens}"
            )
        launch(self._work[layer], (q, k, v), header, out)
