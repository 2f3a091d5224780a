"""The contract of band attention: what every backend computes, and which one does it.

A call packs R rows (one row: one (query, document) pair, or one segment being read). Row r has
`q_len` query tokens, the last ones of its `k_len` own tokens, and sees, in this order,

    header K/V (shared by every row) | prefix K/V of row r (its document) | own tokens, causally

Causality is aligned at the end: query token i of row r sees own tokens 0 .. k_len - q_len + i.
Source: method, section 3; the "extend" attention of serving engines has the same shape. The
arguments are checked in ``call.py``.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from typing import Literal, Protocol, cast, overload

import torch
from torch import Tensor

from minireranker.errors import ConfigurationError

from .call import Call, Extent, Lengths

BACKENDS = ("reference", "sdpa", "packed", "flash", "xformers", "triton", "cuda")
"""reference: float64, defines the result. sdpa: torch's fused attention, row by row.
packed: two matrix products a row, GQA groups folded into rows; fastest on CPUs.
flash: three variable-length launches, merged. xformers: the same through that package.
triton, cuda: a launch for each kind of prefix; documents are read where they lie, quantised or not,
once for as many of their rows as a tile takes."""

_READERS = ("reference", "triton", "cuda")
"""Those that never write a prefix down in the queries' dtype."""


class Backend(Protocol):
    """What a backend's module has; see ``Call``."""

    def attend(self, call: Call) -> tuple[Tensor, Tensor | None]:
        """Output, zero at padding tokens, and the LSE if ``call`` wants it, -inf there."""

    def requirement(self, device: torch.device) -> str | None:
        """None if it can run on ``device``, else why not and what to do."""


def choose_backend(device: torch.device) -> str:
    """The backend ``"auto"`` stands for on a device."""
    if device.type == "cpu":
        return "packed"
    if device.type != "cuda" or not torch.cuda.is_available():
        return "sdpa"
    recent = torch.cuda.get_device_capability(device) >= (8, 0)
    return "triton" if recent and importlib.util.find_spec("triton") is not None else "sdpa"


def reads_quantised(backend: str) -> bool:
    """Whether ``backend`` multiplies a quantised prefix where it lies, scales in registers.

    The others take one as well, but decode it first, in every layer and for every run of rows: for
    them decode once a document. Raises ConfigurationError for an unknown backend, and for "auto",
    which ``choose_backend`` makes a name of.
    """
    _check_name(backend)
    return backend in _READERS


def requirement(backend: str, device: torch.device) -> str | None:
    """None where ``backend`` can run, else a sentence: why not, and what to do.

    Raises ConfigurationError for an unknown backend.
    """
    found = _find(backend)
    return found if isinstance(found, str) else found.requirement(device)


@overload
def band_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    cu_seqlens_q: Lengths,
    cu_seqlens_k: Lengths,
    header: Extent | None = None,
    prefixes: Sequence[Extent | None] | None = None,
    backend: str = "auto",
    return_lse: Literal[False] = False,
) -> Tensor: ...
@overload
def band_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    cu_seqlens_q: Lengths,
    cu_seqlens_k: Lengths,
    header: Extent | None = None,
    prefixes: Sequence[Extent | None] | None = None,
    backend: str = "auto",
    return_lse: Literal[True],
) -> tuple[Tensor, Tensor]: ...
def band_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    cu_seqlens_q: Lengths,
    cu_seqlens_k: Lengths,
    header: Extent | None = None,
    prefixes: Sequence[Extent | None] | None = None,
    backend: str = "auto",
    return_lse: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Attention of every row's query tokens; scale is ``head_dim ** -0.5``.

    ``q`` [total_q, heads, head_dim]; ``k``, ``v`` [total_k, kv_heads, head_dim]: the rows' own
    tokens; ``heads`` is a multiple of ``kv_heads`` (GQA: query heads of a group are adjacent).
    ``cu_seqlens_q``, ``cu_seqlens_k``: R + 1 host integers, row r owns
    ``[cu_seqlens[r], cu_seqlens[r + 1])``. Tokens past the last row are padding: their output is
    zero. ``prefixes``: one Extent (or None) a row, maybe quantised; give rows of one document the
    same object, next to each other, and some backends read it once.

    Returns [total_q, heads, head_dim] in ``q``'s dtype; with ``return_lse`` also float32 [total_q,
    heads], the natural log of the sum of the scaled scores' exponentials, -inf at padding. Mutates
    nothing. Raises ConfigurationError for an unknown backend, or one that cannot run on ``q``'s
    device or with its dtype, and ValueError for arguments that contradict each other.
    """
    name = choose_backend(q.device) if backend == "auto" else backend
    found = _find(name)
    reason = found if isinstance(found, str) else found.requirement(q.device)
    if isinstance(found, str) or reason is not None:
        raise ConfigurationError(reason)
    extents = [None] * (len(cu_seqlens_q) - 1) if prefixes is None else list(prefixes)
    out, lse = found.attend(
        Call(q, k, v, cu_seqlens_q, cu_seqlens_k, header, extents, lse=return_lse)
    )
    if not return_lse:
        return out
    assert lse is not None, f"band_attention's backend {name!r} gave no LSE"
    return out, lse


def _find(name: str) -> Backend | str:
    """The backend's module; why it cannot even be loaded where triton is missing."""
    _check_name(name)
    try:
        return cast(Backend, importlib.import_module(f".{name}", __package__))
    except ModuleNotFoundError as error:
        if error.name != "triton":
            raise
        return (
            f"band_attention's backend {name!r} needs the package triton: install it, or a CUDA "
            "build of torch, which brings it; or take backend='auto'"
        )


def _check_name(name: str) -> None:
    if name not in BACKENDS:
        raise ConfigurationError(
            f"band_attention has no backend {name!r}; use one of {', '.join(BACKENDS)} or 'auto'"
        )
