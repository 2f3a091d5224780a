"""One call of band attention: its tensors and lengths, checked once for all backends."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

Lengths: TypeAlias = Sequence[int]

QUANTISED = (torch.int8, torch.float8_e4m3fn)
"""What a document's numbers may be when they have scales."""


class Extent(NamedTuple):
    """K and V of consecutive tokens, [tokens, kv_heads, head_dim]; views into a pool are fine.

    The last stride is 1, the others are free. Without scales the dtype is that of the queries. With
    them it is one of ``QUANTISED``, and a value is its number times its scale.
    """

    k: Tensor
    v: Tensor
    k_scale: Tensor | None = None
    """Float32, strides free: [tokens, kv_heads, 1], one a token and head; [1, kv_heads, head_dim],
    one a head and channel; or [1, kv_heads, 1], one a head."""
    v_scale: Tensor | None = None
    """Float32, strides free: [tokens or 1, kv_heads, 1]. With ``k_scale``: both or neither."""

    @property
    def by_channel(self) -> bool:
        """Whether K has a scale a channel."""
        return self.k_scale is not None and self.k_scale.shape[2] > 1


@dataclass(frozen=True, eq=False)
class Layout:
    """The rows of a call without its tensors: lengths, and which document each sees."""

    cu_q: Lengths
    """See ``Call``; as for ``cu_k`` and ``prefixes``."""
    cu_k: Lengths
    prefixes: Sequence[Extent | None]
    total_q: int
    """Query tokens, padding included."""
    header: int
    """Its tokens."""
    group: int
    """Query heads of one KV head."""
    dtype: torch.dtype
    """Of the queries."""

    def runs(self) -> list[tuple[int, int]]:
        """Rows ``[first, stop)`` that share their prefix, in order."""
        prefixes, rows = self.prefixes, len(self.prefixes)
        firsts = [row for row in range(rows) if not row or prefixes[row] is not prefixes[row - 1]]
        return list(itertools.pairwise([*firsts, rows]))


@dataclass(frozen=True, eq=False)
class Call:
    """The arguments of ``band_attention``. Raises ValueError for those that contradict each other.

    A backend is a module with ``attend(call) -> (out, lse)``, the second None unless ``call.lse``,
    and ``requirement(device) -> str | None``: None where it can run, else a sentence that says why
    not and what to do.
    """

    q: Tensor
    """[total_q, heads, head_dim]."""
    k: Tensor
    """[total_k, kv_heads, head_dim]: the rows' own tokens, never quantised; as is ``v``."""
    v: Tensor
    cu_q: Lengths
    """Row r owns query tokens ``[cu_q[r], cu_q[r + 1])``; those past the last row are padding."""
    cu_k: Lengths
    header: Extent | None
    """Seen by every row; never quantised."""
    prefixes: Sequence[Extent | None]
    """One a row. Consecutive rows with the same object are a run: they share a document."""
    lse: bool = False
    """Whether the log of the sum of exponentials is wanted, [total_q, heads] float32."""

    def __post_init__(self) -> None:
        """Compare the parts with one another."""
        self._check_tensors()
        total_q, total_k = self.q.shape[0], self.k.shape[0]
        check_rows(self.cu_q, self.cu_k, len(self.prefixes), total_q, total_k)
        like = self.k.shape[1:], self.q.dtype, self.q.device
        if self.header is not None:
            check_extent(self.header, *like)
            if self.header.k_scale is not None:
                raise ValueError("the header has scales; give it in the dtype of the queries")
        for first, _ in self.runs():
            prefix = self.prefixes[first]
            if prefix is not None:
                check_extent(prefix, *like)

    @property
    def total_q(self) -> int:
        """Query tokens, padding included."""
        return self.q.shape[0]

    @property
    def rows(self) -> int:
        """How many there are."""
        return len(self.cu_q) - 1

    @property
    def group(self) -> int:
        """Query heads of one KV head; they are adjacent."""
        return self.q.shape[1] // self.k.shape[1]

    @property
    def scale(self) -> float:
        """What scores are multiplied by."""
        return float(self.q.shape[2] ** -0.5)

    @property
    def layout(self) -> Layout:
        """Its rows."""
        header = 0 if self.header is None else len(self.header.k)
        sizes = self.total_q, header, self.group, self.q.dtype
        return Layout(self.cu_q, self.cu_k, self.prefixes, *sizes)

    def runs(self) -> list[tuple[int, int]]:
        """See ``Layout.runs``."""
        return self.layout.runs()

    def _check_tensors(self) -> None:
        q, k, v = self.q, self.k, self.v
        if q.ndim != 3 or k.ndim != 3 or k.shape != v.shape or q.shape[2] != k.shape[2]:
            raise ValueError(
                f"q {tuple(q.shape)}, k {tuple(k.shape)}, v {tuple(v.shape)} do not match"
            )
        if q.shape[1] % k.shape[1]:
            raise ValueError(
                f"{q.shape[1]} query heads are not a multiple of {k.shape[1]} KV heads"
            )
        for name, part in (("k", k), ("v", v)):
            if part.dtype is not q.dtype or part.device != q.device:
                raise ValueError(
                    f"{name} is {part.dtype} on {part.device}, q {q.dtype} on {q.device}; give "
                    "the same of both"
                )


def check_rows(cu_q: Lengths, cu_k: Lengths, prefixes: int, total_q: int, total_k: int) -> None:
    """Raise ValueError for lengths that contradict one another, or leave the packed tokens."""
    rows = len(cu_q) - 1
    if not cu_q or len(cu_q) != len(cu_k) or prefixes != rows:
        raise ValueError(f"{rows} rows of queries, {len(cu_k) - 1} of keys, {prefixes} prefixes")
    if cu_q[0] != 0 or cu_k[0] != 0:
        raise ValueError(f"cu_seqlens start at {cu_q[0]}, {cu_k[0]}: both start at 0")
    if cu_q[-1] > total_q or cu_k[-1] > total_k:
        raise ValueError(
            f"cu_seqlens end at {cu_q[-1]}, {cu_k[-1]}: past the {total_q} packed "
            f"query tokens or the {total_k} own tokens"
        )
    for row in range(rows):
        queries, keys = cu_q[row + 1] - cu_q[row], cu_k[row + 1] - cu_k[row]
        if not 0 < queries <= keys:
            raise ValueError(f"row {row} has {queries} query tokens and {keys} own tokens")


def check_extent(
    extent: Extent, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device
) -> None:
    """Raise ValueError for what cannot be read beside own keys of one token's ``shape``."""
    k, v = extent.k, extent.v
    if k.shape[1:] != shape or v.shape != k.shape:
        shapes = f"{tuple(k.shape)}, {tuple(v.shape)}"
        raise ValueError(f"K/V extent {shapes} beside keys of {tuple(shape)} a token")
    allowed = (dtype,) if extent.k_scale is None else QUANTISED
    for part in (k, v):
        if part.dtype not in allowed:
            scales = "without" if extent.k_scale is None else "with"
            raise ValueError(
                f"K/V extent of {part.dtype} {scales} scales; it is one of "
                f"{', '.join(map(str, allowed))}"
            )
        if part.device != device:
            raise ValueError(f"K/V extent on {part.device}, q on {device}")
        if part.stride(2) != 1 and part.shape[2] > 1:
            raise ValueError(f"K/V extent with strides {part.stride()}; the last has to be 1")
    if extent.k_scale is not None or extent.v_scale is not None:
        _check_scales(extent)


def _check_scales(extent: Extent) -> None:
    tokens, heads, dim = extent.k.shape
    alike = {(tokens, heads, 1), (1, heads, 1)}
    for name, scale, shapes in (
        ("k_scale", extent.k_scale, alike | {(1, heads, dim)}),
        ("v_scale", extent.v_scale, alike),
    ):
        if scale is None:
            raise ValueError("K/V extent with one of k_scale and v_scale; give both or neither")
        if tuple(scale.shape) not in shapes or scale.dtype is not torch.float32:
            raise ValueError(
                f"{name} is {scale.dtype} {tuple(scale.shape)} of a K/V extent "
                f"{tuple(extent.k.shape)}; give float32 {' or '.join(map(str, sorted(shapes)))}"
            )
        if scale.device != extent.k.device:
            raise ValueError(f"{name} on {scale.device}, its K/V on {extent.k.device}")
