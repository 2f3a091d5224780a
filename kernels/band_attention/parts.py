"""Band attention by kernels that know packed sequences and an LSE, but no shared or split keys.

Three launches, merged: all query tokens over the header, as one sequence; each run of rows over its
document, as one sequence a run; each row over its own tokens, causally. Documents are gathered: a
copy reads their K/V (and dequantises it), and then the kernel reads the copy.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from minireranker.errors import ConfigurationError

from .call import Call, Extent, Lengths
from .merge import merge
from .rows import empty_lse, plain

_DTYPES = (torch.bfloat16, torch.float16)
_WIDEST = 256


@dataclass(frozen=True, eq=False)
class Part:
    """Sequences of query tokens, each over keys of its own; none of either is empty."""

    q: Tensor
    """[tokens, heads, head_dim]."""
    k: Tensor
    """[keys, kv_heads, head_dim]; as is ``v``."""
    v: Tensor
    cu_q: Lengths
    """Sequence s has query tokens ``[cu_q[s], cu_q[s + 1])``, and there are no others."""
    cu_k: Lengths
    causal: bool
    """Aligned at the end: the last query sees every key of its sequence."""


Launch: TypeAlias = Callable[[Part], tuple[Tensor, Tensor]]
"""Output [tokens, heads, head_dim] and natural-log LSE [tokens, heads] of a part."""


def attend_in_parts(call: Call, launch: Launch) -> tuple[Tensor, Tensor | None]:
    """See ``band_attention``; ``launch`` does the work."""
    out, lse = torch.zeros_like(call.q), empty_lse(call)
    if not call.rows:
        return out, lse
    done = [*_over_shared(call, launch), launch(_own(call))]
    last = call.cu_q[-1]
    out[:last], total = merge(*zip(*done, strict=True))
    if lse is not None:
        lse[:last] = total
    return out, lse


def no_device(backend: str, device: torch.device) -> str | None:
    """Why ``device`` does not run FlashAttention's kernels, if so: CUDA, sm_80 or later, does."""
    if device.type != "cuda":
        return (
            f"band_attention's backend {backend!r} runs on CUDA devices, not on {device}; "
            "take backend='auto'"
        )
    if not torch.cuda.is_available() or torch.cuda.get_device_capability(device) < (8, 0):
        return (
            f"band_attention's backend {backend!r} needs a GPU of compute capability 8.0 or more, "
            f"which {device} is not here; take backend='auto'"
        )
    return None


def check_numbers(call: Call, backend: str) -> None:
    """Raise ConfigurationError for what flash attention does not multiply."""
    dtype, dim = call.q.dtype, call.q.shape[2]
    if dtype not in _DTYPES:
        raise ConfigurationError(
            f"band_attention's backend {backend!r} is for bfloat16 and float16, not {dtype}; take "
            "another dtype or backend='auto'"
        )
    if dim % 8 or dim > _WIDEST:
        raise ConfigurationError(
            f"band_attention's backend {backend!r} is for heads of a multiple of 8 numbers, "
            f"{_WIDEST} at most, not {dim}; take backend='auto'"
        )


def _own(call: Call) -> Part:
    last, keys = call.cu_q[-1], call.cu_k[-1]
    return Part(call.q[:last], call.k[:keys], call.v[:keys], call.cu_q, call.cu_k, causal=True)


def _over_shared(call: Call, launch: Launch) -> Iterator[tuple[Tensor, Tensor]]:
    """Outputs and LSEs of all query tokens over the header, and over the documents."""
    last = call.cu_q[-1]
    if call.header is not None and len(call.header.k):
        k, v = call.header[:2]
        yield launch(Part(call.q[:last], k, v, [0, last], [0, len(k)], causal=False))
    spans, extents = [], []
    for first, stop in call.runs():
        prefix = call.prefixes[first]
        if prefix is not None and len(prefix.k):
            spans.append(slice(call.cu_q[first], call.cu_q[stop]))
            extents.append(prefix)
    if spans:
        yield _over_documents(call, spans, extents, launch)


def _over_documents(
    call: Call, spans: list[slice], extents: list[Extent], launch: Launch
) -> tuple[Tensor, Tensor]:
    """Query tokens outside ``spans`` have no document: their LSE is -inf."""
    gathered = [plain(extent, call.q.dtype) for extent in extents]
    sizes = [span.stop - span.start for span in spans]
    whole = sum(sizes) == call.cu_q[-1]
    part = Part(
        call.q[: sum(sizes)] if whole else torch.cat([call.q[span] for span in spans]),
        torch.cat([extent.k for extent in gathered]),
        torch.cat([extent.v for extent in gathered]),
        list(itertools.accumulate(sizes, initial=0)),
        list(itertools.accumulate((len(extent.k) for extent in extents), initial=0)),
        causal=False,
    )
    out, lse = launch(part)
    if whole:
        return out, lse
    all_out = out.new_zeros(call.cu_q[-1], *out.shape[1:])
    out_of, lse_of = torch.split(out, sizes), torch.split(lse, sizes)
    all_lse = lse.new_full(all_out.shape[:2], float("-inf"))
    for span, some, own in zip(spans, out_of, lse_of, strict=True):
        all_out[span], all_lse[span] = some, own
    return all_out, all_lse
