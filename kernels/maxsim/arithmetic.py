"""Which dtype a CPU multiplies token vectors in, and the product itself."""

from __future__ import annotations

import torch
from torch import Tensor


def multiplied_in(queries: torch.dtype, documents: torch.dtype) -> torch.dtype:
    """The dtype of a product's factors: bfloat16 and int8 where this CPU has instructions for it.

    Elsewhere, for two different dtypes, and for float16, which no common CPU multiplies fast,
    float32. An integer product has no rounding; one in bfloat16 is rounded once, at its end.
    """
    same = queries is documents
    if same and queries is torch.int8 and _has("_is_vnni_supported"):
        return torch.int8
    if same and queries is torch.bfloat16 and _has("_is_avx512_bf16_supported"):
        return torch.bfloat16
    return torch.float32


def _has(question: str) -> bool:
    """Whether the CPU has something; a torch that does not know the question says no."""
    return bool(getattr(torch.cpu, question, bool)())


class Product:
    """Products [rows, tokens] of document rows and query tokens, in memory that is used again."""

    def __init__(self, dtype: torch.dtype, rows: int, tokens: int) -> None:
        """``dtype``: of the factors; ``rows``, ``tokens``: at most so many."""
        self.dtype = torch.float32 if dtype is torch.int8 else dtype
        self._out = torch.empty(rows * tokens, dtype=self.dtype)

    @staticmethod
    def bytes_a_number(dtype: torch.dtype) -> int:
        """What one number of a product takes."""
        return {torch.bfloat16: 2, torch.float32: 4, torch.int8: 4}[dtype]

    def __call__(self, rows: Tensor, tokens: Tensor) -> Tensor:
        """``rows`` [rows, dim] times ``tokens`` [tokens, dim]; valid until the next call."""
        shape = len(rows), len(tokens)
        size = shape[0] * shape[1]
        out = self._out[:size].view(shape)
        if rows.dtype is torch.bfloat16:
            for part in _few_sizes(len(rows)):
                torch.mm(rows[part], tokens.T, out=out[part])
            return out
        if rows.dtype is torch.float32:
            return torch.mm(rows, tokens.T, out=out)
        if rows.shape[1] == 1:
            return torch.mm(rows.float(), tokens.float().T, out=out)
        # In the memory of the floats that they become: half as much has to stay in the caches.
        whole = out.view(torch.int32)
        torch.ops.aten._int_mm.out(_row_by_row(rows), _row_by_row(tokens).T, out=whole)
        return out.copy_(whole)


def _row_by_row(rows: Tensor) -> Tensor:
    """``rows`` [n, dim], dim > 1, with strides that an integer product takes; copied if need be.

    Torch hands any strides on, even those of an axis of length one, to a library that refuses some
    and reads others wrongly, and does not look whether it did (pytorch issue 195066).
    """
    dim = rows.shape[1]
    if rows.stride(1) != 1 or rows.stride(0) < dim:
        rows = rows.contiguous()
    return rows.as_strided(rows.shape, (rows.stride(0) if len(rows) > 1 else dim, 1))


def _few_sizes(rows: int) -> list[slice]:
    """All ``rows``, in one part or two that may overlap, of sizes that come again and again.

    oneDNN compiles a bfloat16 product anew for every number of rows and keeps it: 0.6 MiB each, a
    thousand of them, and no two blocks have as many rows (figures in DECISIONS.md). Sizes of three
    leading bits are four in an octave; what overlaps is less than a twentieth.
    """
    first = _rounded(rows)
    if first == rows:
        return [slice(0, rows)]
    rest = min(rows, -_rounded(first - rows))
    return [slice(0, first), slice(rows - rest, rows)]


def _rounded(number: int) -> int:
    """To three leading bits, downward: away from zero where it is negative."""
    step = 1 << max(0, number.bit_length() - 3)
    return number // step * step
