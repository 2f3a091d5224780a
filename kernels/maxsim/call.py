"""The arguments of one MaxSim call, checked once for all backends."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor

DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.int8)
"""What token vectors may be; int8 has scales."""

REDUCTIONS = ("sum", "mean")

SMALLEST_BLOCK = 2**16
"""Bytes: below this a block holds hardly a row, and nothing is gained."""


@dataclass(frozen=True, eq=False)
class Tokens:
    """Token vectors of one side of a call. Raises ValueError for parts that do not fit."""

    side: str
    """"queries" or "documents", for messages."""
    vectors: Tensor
    """[total, dim]."""
    mask: Tensor | None
    """[total] bool; False: the token does not exist."""
    scales: Tensor | None
    """[total] float32: what int8 rows are multiplied by."""

    def __post_init__(self) -> None:
        """Hold the shapes and dtypes above."""
        vectors, side = self.vectors, self.side
        if vectors.ndim != 2:
            raise ValueError(f"{side} have shape {tuple(vectors.shape)}; give [tokens, dim]")
        if vectors.dtype not in DTYPES:
            allowed = ", ".join(str(dtype).removeprefix("torch.") for dtype in DTYPES)
            raise ValueError(f"{side} are {vectors.dtype}; use one of {allowed}")
        if (vectors.dtype is torch.int8) is (self.scales is None):
            scales = "without scales" if self.scales is None else "with scales"
            raise ValueError(f"{side} are {vectors.dtype} {scales}; int8 alone has scales")
        for name, part, dtype in (
            ("mask", self.mask, torch.bool),
            ("scales", self.scales, torch.float32),
        ):
            if part is None:
                continue
            if part.dtype is not dtype or part.shape != (len(vectors),):
                raise ValueError(
                    f"{name} of the {side}: {part.dtype} {tuple(part.shape)}; give {dtype} "
                    f"({len(vectors)},), one a token"
                )
            if part.device != vectors.device:
                raise ValueError(f"{side} are on {vectors.device}, their {name} on {part.device}")


@dataclass(frozen=True, eq=False)
class Call:
    """One call of ``maxsim``: see there. Raises ValueError for arguments that contradict."""

    queries: Tokens
    documents: Tokens
    cu_seqlens_q: tuple[int, ...]
    starts: Tensor
    lengths: Tensor
    reduce: str
    block_bytes: int

    def __post_init__(self) -> None:
        """Compare the parts with one another."""
        queries, documents = self.queries.vectors, self.documents.vectors
        if queries.shape[1] != documents.shape[1] or not queries.shape[1]:
            raise ValueError(
                f"queries {tuple(queries.shape)} beside documents {tuple(documents.shape)}: both "
                "need the same dim, at least 1"
            )
        if queries.device != documents.device:
            raise ValueError(f"queries on {queries.device}, documents on {documents.device}")
        scales = self.queries.scales
        if scales is not None and not bool((scales >= 0).all()):
            raise ValueError(f"a query scale is {float(scales.min())}; scales are not negative")
        if self.reduce not in REDUCTIONS:
            raise ValueError(f"reduce is {self.reduce!r}; use one of {', '.join(REDUCTIONS)}")
        if self.block_bytes < SMALLEST_BLOCK:
            raise ValueError(f"block_bytes is {self.block_bytes}; give {SMALLEST_BLOCK} or more")
        self._check_queries(len(queries))
        self._check_extents(len(documents))

    def _check_queries(self, total: int) -> None:
        cu = self.cu_seqlens_q
        if not cu or cu[0] != 0:
            raise ValueError(f"cu_seqlens_q starts with {cu[:1]}; it starts at 0")
        for at, (start, stop) in enumerate(itertools.pairwise(cu)):
            if not start <= stop <= total:
                raise ValueError(f"query {at} owns rows [{start}, {stop}) of {total}")

    def _check_extents(self, total: int) -> None:
        starts, lengths = self.starts, self.lengths
        if starts.ndim != 1 or starts.shape != lengths.shape:
            raise ValueError(
                f"starts {tuple(starts.shape)}, lengths {tuple(lengths.shape)}: one of each a "
                "document"
            )
        if starts.device != lengths.device:
            raise ValueError(f"starts on {starts.device}, lengths on {lengths.device}")
        if starts.dtype is not torch.int64 or lengths.dtype is not torch.int64:
            raise ValueError(f"starts are {starts.dtype}, lengths {lengths.dtype}; give int64")
        # In this order nothing can overflow: each term is at most the pool's length.
        wrong = (starts < 0) | (lengths < 0) | (starts > total) | (lengths > total - starts)
        if bool(wrong.any()):
            at = int(wrong.nonzero()[0])
            start, length = int(starts[at]), int(lengths[at])
            raise ValueError(
                f"document {at} has {length} rows from {start}, in a pool of {total} rows"
            )

    @property
    def shape(self) -> tuple[int, int]:
        """Of the result: queries, documents."""
        return len(self.cu_seqlens_q) - 1, len(self.starts)
