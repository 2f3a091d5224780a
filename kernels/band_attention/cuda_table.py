"""What the CUDA kernel is told: the structures of ``csrc/band_table.cuh``, filled from a call.

Sizes and order are asserted on both sides, and a host build of the kernel reads them in the tests.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from minireranker.kernels.sending import sent

from .call import Call
from .tiles import LAYOUT, Cut, Part, Tiles

__all__ = ["FORMATS", "KEYS", "Launch", "Plane", "Work"]

FORMATS = {torch.int8: 1, torch.float8_e4m3fn: 2}
"""``band::Format`` of a quantised prefix; 0 is the queries' own dtype."""
KEYS = 64
"""``band::KEYS``: of a block."""


class Plane(ctypes.Structure):
    """``band::Plane``: a tensor [tokens, heads, head_dim] whose last stride is 1."""

    _fields_ = [(name, ctypes.c_int64) for name in ("address", "token", "head")]

    @classmethod
    def of(cls, tensor: Tensor | None) -> Plane:
        """Address and strides in numbers; zeros for a tensor that is not there."""
        if tensor is None:
            return cls(0, 0, 0)
        return cls(tensor.data_ptr(), tensor.stride(0), tensor.stride(1))


class Launch(ctypes.Structure):
    """``band::Launch``, the kernel's one argument, by value."""

    _fields_ = [
        *((name, Plane) for name in ("q", "out", "header_k", "header_v", "own_k", "own_v")),
        *((name, ctypes.c_int64) for name in ("tiles", "first", "last", "blocks", "lse")),
        *((name, ctypes.c_int32) for name in ("heads", "group", "k_format", "v_format")),
        ("factor", ctypes.c_float),
        ("k_by_channel", ctypes.c_int32),
    ]


@dataclass(frozen=True, eq=False)
class Work:
    """A call with its tiles and results where the kernel runs."""

    call: Call
    tiles: Tiles
    table: Tensor
    """``tiles.packed()`` on the call's device."""
    out: Tensor
    """[total_q, heads, head_dim]; the kernel writes all of it."""
    lse: Tensor | None
    """[total_q, heads] float32, likewise."""

    @classmethod
    def of(cls, call: Call, block: int) -> Work:
        """For tiles of ``block`` packed rows. What goes to the device goes in one copy."""
        tiles = Tiles.of(call.layout, lambda kind: Cut(block, KEYS))
        table = sent(torch.from_numpy(tiles.packed()), call.q.device)
        out = torch.empty(call.q.shape, dtype=call.q.dtype, device=call.q.device)
        lse = None
        if call.lse:
            lse = torch.empty(call.q.shape[:2], dtype=torch.float32, device=call.q.device)
        return cls(call, tiles, table, out, lse)

    def launches(self) -> Iterator[tuple[int, Launch]]:
        """Number of tiles and argument of each launch: one for each kind of prefix."""
        for part in self.tiles.parts:
            yield part.stop - part.first, self._launch(part)

    def _launch(self, part: Part) -> Launch:
        call, numbers = self.call, self.table.data_ptr()
        ends = numbers + self.tiles.table.nbytes
        header = call.header
        planes = (
            call.q,
            self.out,
            None if header is None else header.k,
            None if header is None else header.v,
            call.k,
            call.v,
        )
        return Launch(
            *(Plane.of(plane) for plane in planes),
            tiles=numbers + part.first * LAYOUT.itemsize,
            first=ends,
            last=ends + self.tiles.first.nbytes,
            blocks=ends + 2 * self.tiles.first.nbytes,
            lse=0 if self.lse is None else self.lse.data_ptr(),
            heads=call.q.shape[1],
            group=call.group,
            k_format=FORMATS.get(part.kind.k, 0),
            v_format=FORMATS.get(part.kind.v, 0),
            factor=call.scale * math.log2(math.e),
            k_by_channel=part.kind.by_channel,
        )
