"""Calls of band attention at odd shapes, with NaN everywhere that no row owns."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor

from minireranker.kernels.band_attention import Call, Extent, band_attention

NAN = float("nan")


@dataclass(frozen=True)
class Shape:
    """Lengths of one call; ``rows`` has (query tokens, own tokens, prefix tokens or None)."""

    rows: list[tuple[int, int, int | None]]
    header: int | None
    heads: int
    kv_heads: int
    head_dim: int
    padding: int = 3


@dataclass(frozen=True)
class Case:
    """The arguments of one call."""

    q: Tensor
    k: Tensor
    v: Tensor
    cu_q: list[int]
    cu_k: list[int]
    header: Extent | None
    prefixes: list[Extent | None]

    def attend(self, backend: str) -> Tensor:
        return band_attention(
            self.q,
            self.k,
            self.v,
            cu_seqlens_q=self.cu_q,
            cu_seqlens_k=self.cu_k,
            header=self.header,
            prefixes=self.prefixes,
            backend=backend,
        )

    def attend_lse(self, backend: str) -> tuple[Tensor, Tensor]:
        """Output and LSE."""
        return band_attention(
            self.q,
            self.k,
            self.v,
            cu_seqlens_q=self.cu_q,
            cu_seqlens_k=self.cu_k,
            header=self.header,
            prefixes=self.prefixes,
            backend=backend,
            return_lse=True,
        )

    def call(self, *, lse: bool = False) -> Call:
        """The same as backends get it."""
        parts = (self.q, self.k, self.v, self.cu_q, self.cu_k, self.header, self.prefixes)
        return Call(*parts, lse=lse)

    def tensors(self) -> list[Tensor]:
        extents = [extent for extent in (self.header, *self.prefixes) if extent is not None]
        parts = [part for extent in extents for part in extent if part is not None]
        return [self.q, self.k, self.v, *parts]

    def to(self, target: torch.dtype | torch.device) -> Case:
        def moved(extent: Extent | None) -> Extent | None:
            if extent is None:
                return None
            # A quantised extent keeps its numbers when the queries change their dtype.
            keep = extent.k_scale is not None and isinstance(target, torch.dtype)
            kept = (
                extent if keep else (None if part is None else part.to(target) for part in extent)
            )
            return Extent(*kept)

        return dataclasses.replace(
            self,
            **{name: getattr(self, name).to(target) for name in ("q", "k", "v")},
            header=moved(self.header),
            prefixes=[moved(extent) for extent in self.prefixes],
        )

    def sharing(self) -> Case:
        """Every second row has the prefix of the one before, the same object."""
        shared = [self.prefixes[row - row % 2] for row in range(len(self.prefixes))]
        return dataclasses.replace(self, prefixes=shared)

    def quantised(self, dtype: torch.dtype, scales: str = "token") -> Case:
        """Prefixes in int8 or float8, with scales as ``SCALES`` says; shared ones stay shared."""
        made = {id(extent): _quantised(extent, dtype, scales) for extent in self.prefixes}
        return dataclasses.replace(self, prefixes=[made[id(extent)] for extent in self.prefixes])

    def only(self, row: int) -> Case:
        """The call of one row alone, on views of the same tensors."""
        part_q = slice(self.cu_q[row], self.cu_q[row + 1])
        part_k = slice(self.cu_k[row], self.cu_k[row + 1])
        return Case(
            self.q[part_q],
            self.k[part_k],
            self.v[part_k],
            [0, part_q.stop - part_q.start],
            [0, part_k.stop - part_k.start],
            self.header,
            [self.prefixes[row]],
        )


SCALES = {"token": ((2,), (2,)), "channel": ((0,), (2,)), "head": ((0, 2), (0, 2))}
"""Over what the scales of K and of V are taken, of [tokens, heads, head_dim]: one for each token,
head and channel that is left."""


def _quantised(extent: Extent | None, dtype: torch.dtype, scales: str) -> Extent | None:
    """Scales lie among NaN; so do float8 numbers, and int8 ones among the largest."""
    if extent is None:
        return None
    parts = [_codes(*pair, dtype) for pair in zip(extent[:2], SCALES[scales], strict=True)]
    (k, k_scale), (v, v_scale) = parts
    return Extent(k, v, k_scale, v_scale)


def _codes(values: Tensor, over: tuple[int, ...], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    top = 127 if dtype is torch.int8 else 448
    wide = values.float()
    empty = not len(values) and 0 in over
    size = torch.ones(1, *wide.shape[1:]) if empty else wide.abs()
    scale = size.amax(over, keepdim=True) / top
    codes = wide / scale
    room = torch.full((len(values) + 3, *values.shape[1:]), 127 if dtype is torch.int8 else NAN)
    numbers = room.to(dtype)[2 : len(values) + 2]
    numbers.copy_(codes.round() if dtype is torch.int8 else codes)
    rooms = torch.full((len(scale) + 3, *scale.shape[1:], 3), NAN)
    scales = rooms[2 : len(scale) + 2, ..., 1].copy_(scale)
    return numbers, scales


def _case(shape: Shape, seed: int = 0, dtype: torch.dtype = torch.float32) -> Case:
    """Normal values where a row owns them; NaN in padding rows and around every extent."""
    random = torch.Generator().manual_seed(seed)

    def packed(tokens: int, heads: int) -> Tensor:
        out = torch.full((tokens + shape.padding, heads, shape.head_dim), NAN, dtype=dtype)
        out[:tokens] = torch.randn(tokens, heads, shape.head_dim, generator=random).to(dtype)
        return out

    def extent(tokens: int | None) -> Extent | None:
        """A view into a pool of [slots, layers, kv_heads, head_dim] that is NaN elsewhere."""
        if tokens is None:
            return None
        pool = torch.full((2, tokens + 5, 3, shape.kv_heads, shape.head_dim), NAN, dtype=dtype)
        own = pool[:, 2 : tokens + 2, 1]
        own.copy_(torch.randn(own.shape, generator=random))
        return Extent(own[0], own[1])

    cu_q, cu_k = [0], [0]
    for queries, keys, _ in shape.rows:
        cu_q.append(cu_q[-1] + queries)
        cu_k.append(cu_k[-1] + keys)
    return Case(
        packed(cu_q[-1], shape.heads),
        packed(cu_k[-1], shape.kv_heads),
        packed(cu_k[-1], shape.kv_heads),
        cu_q,
        cu_k,
        extent(shape.header),
        [extent(prefix) for _, _, prefix in shape.rows],
    )


@st.composite
def _shapes(draw: st.DrawFn) -> Shape:
    queries = draw(st.lists(st.integers(1, 12), min_size=1, max_size=5))
    heads, kv_heads = draw(
        st.sampled_from([(1, 1), (2, 1), (2, 2), (4, 1), (4, 2), (6, 1), (6, 2), (6, 3)])
    )
    return Shape(
        [
            (
                count,
                count + draw(st.sampled_from([0, 1, 7])),
                draw(st.none() | st.integers(0, 37)),
            )
            for count in queries
        ],
        draw(st.none() | st.integers(1, 9)),
        heads,
        kv_heads,
        draw(st.sampled_from([8, 16, 24, 80])),
        draw(st.integers(0, 4)),
    )


@pytest.fixture(scope="session")
def shapes() -> st.SearchStrategy[Shape]:
    """Odd shapes, to be drawn from."""
    return _shapes()


@pytest.fixture(scope="session")
def shape_of() -> type[Shape]:
    """The record of a call's lengths."""
    return Shape


@pytest.fixture(scope="session")
def case_of() -> Callable[..., Case]:
    """``case_of(shape, seed=0, dtype=torch.float32)``: the call itself."""
    return _case
