"""Calls of band attention's Triton kernel in Triton's interpreter: run with TRITON_INTERPRET=1.

A process of its own, because the variable counts only when the kernel's module is imported. Prints
one line a call: its name, the largest error against float64, and the largest that is allowed.
"""

from __future__ import annotations

import dataclasses
import runpy
from pathlib import Path
from typing import Any

import torch
import triton
import triton.language as tl

from minireranker.kernels.band_attention import Extent, band_attention
from minireranker.kernels.band_attention.triton_kernel import numbers

_CASES = runpy.run_path(str(Path(__file__).with_name("conftest.py")))
Shape, case_of = _CASES["Shape"], _CASES["_case"]

FP32, BF16, FP16 = torch.float32, torch.bfloat16, torch.float16
INT8, FP8 = torch.int8, torch.float8_e4m3fn
RAGGED = [(1, 1, 130), (15, 15, 65), (16, 17, 64), (17, 17, 63), (63, 64, 1), (1, 2, 16)]
LONG = [(64, 65, 17), (65, 65, 15), (130, 130, 16)]
BARE = [(15, 64, None), (17, 63, None), (1, 65, 0), (1, 130, 15), (1, 1, None)]
LAST = [(1, 130, 63), (1, 15, 63), (1, 64, 65), (1, 17, 65), (1, 16, 1)]
DOCUMENT = [(15, 15, 65), (17, 20, 65), (1, 16, 130), (16, 16, 130), (3, 3, 5)]

CALLS: list[tuple[str, Any, torch.dtype, tuple[torch.dtype, str] | None]] = [
    ("ragged, group 1", Shape(RAGGED, 15, 2, 2, 16), FP32, None),
    ("ragged, group 4", Shape(RAGGED, 63, 4, 1, 80), BF16, None),
    ("ragged, fp16", Shape(RAGGED, 1, 2, 1, 24, padding=0), FP16, None),
    ("long rows", Shape(LONG, 16, 4, 2, 64, padding=17), BF16, None),
    ("long rows, int8", Shape(LONG, 65, 2, 1, 128, padding=1), BF16, (INT8, "channel")),
    ("long rows, group 7", Shape(LONG[:2], None, 7, 1, 32), FP32, None),
    ("no header, few prefixes", Shape(BARE, None, 4, 1, 128, padding=65), FP32, None),
    ("few prefixes, int8", Shape(BARE, 130, 4, 2, 16), FP16, (INT8, "token")),
    ("one query token", Shape(LAST, 64, 2, 1, 128), BF16, None),
    ("one query token, fp8", Shape(LAST, 17, 14, 2, 32), FP32, (FP8, "head")),
    ("rows of one document", Shape(DOCUMENT, 5, 4, 2, 64), FP32, None),
    ("rows of one document, fp8", Shape(DOCUMENT, 5, 7, 1, 80), BF16, (FP8, "token")),
    ("rows of one document, int8", Shape(DOCUMENT, 5, 2, 1, 24), FP32, (INT8, "channel")),
    ("heads of 256", Shape([(2, 3, 70), (40, 40, 9)], 3, 2, 1, 256), BF16, None),
]


def compare(
    name: str, shape: Any, dtype: torch.dtype, quantised: tuple[torch.dtype, str] | None
) -> None:
    """Error at most twice that of plain torch, and one rounding; the LSE that of float32."""
    case = case_of(shape, dtype=dtype)
    if "one" in name:
        case = case.sharing()
    if quantised is not None:
        case = case.quantised(*quantised)
    exact, exact_lse = case.to(torch.float64).attend_lse("reference")
    got, lse = case.attend_lse("triton")
    used = case.cu_q[-1]
    assert torch.equal(got[used:], torch.zeros_like(got[used:])), "padding is not zero"
    assert bool(lse[used:].isneginf().all())
    assert float((lse - exact_lse)[:used].abs().max()) < 1e-5
    plain = float((case.attend("packed").double() - exact).abs().max())
    allowed = 2 * plain + torch.finfo(dtype).eps * float(exact.abs().max())
    print(name, "|", float((got.double() - exact).abs().max()), allowed)


def several_dtypes_in_one_call() -> None:
    case = case_of(Shape([(3, 3, 20), (2, 4, 17), (5, 5, None), (1, 1, 9)], 4, 4, 2, 16))
    prefixes = list(case.prefixes)
    prefixes[1] = case.quantised(INT8).prefixes[1]
    prefixes[3] = case.quantised(INT8, "channel").prefixes[3]
    mixed = dataclasses.replace(case, prefixes=prefixes)
    exact, got = mixed.attend("reference"), mixed.attend("triton")
    torch.testing.assert_close(got, exact, rtol=0, atol=2e-6)


def every_part_may_lie_differently() -> None:
    """Heads before tokens in V's extents, own K beside the queries, V elsewhere."""
    case = case_of(Shape([(3, 3, 20), (2, 2, 17)], 4, 4, 2, 16))
    turned = [_turned(extent) for extent in (case.header, *case.quantised(INT8).prefixes)]
    packed = torch.cat([case.q, case.k, case.v], 1)
    q, k, _ = packed.split([4, 2, 2], 1)
    case = dataclasses.replace(case, prefixes=case.quantised(INT8).prefixes)
    other = dataclasses.replace(case, q=q, k=k, header=turned[0], prefixes=turned[1:])
    assert torch.equal(other.attend("triton"), case.attend("triton"))


def _turned(extent: Extent) -> Extent:
    k, v, k_scale, v_scale = extent
    k_scale = None if k_scale is None else k_scale.transpose(0, 1).contiguous().transpose(0, 1)
    return Extent(k, v.transpose(0, 1).contiguous().transpose(0, 1), k_scale, v_scale)


def a_row_never_sees_another() -> None:
    """Nor does it matter whether the LSE is wanted."""
    case = case_of(Shape(RAGGED, 5, 2, 1, 16))
    whole = case.attend("triton")
    case.k[case.cu_k[2]] = float("nan")
    assert bool(whole.isfinite().all())
    spoilt, _ = case.attend_lse("triton")
    part = slice(case.cu_q[2], case.cu_q[3])
    assert bool(spoilt[part].isnan().all())
    assert torch.equal(spoilt[: part.start], whole[: part.start])
    assert torch.equal(spoilt[part.stop :], whole[part.stop :])


def a_row_alone_has_the_bits_it_has_in_company() -> None:
    """Behind the header, a prefix of each kind or none, next to rows of its document and others."""
    rows = [(15, 15, 65), (17, 20, 65), (1, 70, 65), (16, 16, 65), (9, 33, 7), (40, 41, None)]
    for group, dtype, kept in (
        (2, FP32, None),
        (4, FP32, (INT8, "channel")),
        (1, FP16, (INT8, "token")),
        (7, BF16, (FP8, "head")),
    ):
        case = case_of(Shape(rows, 19, group, 1, 32), dtype=dtype)
        first = case.prefixes[0]
        case = dataclasses.replace(case, prefixes=[first] * 4 + case.prefixes[4:])
        case = case if kept is None else case.quantised(*kept)
        whole, sums = case.attend_lse("triton")
        for row in range(len(rows)):
            part = slice(case.cu_q[row], case.cu_q[row + 1])
            alone, sum_alone = case.only(row).attend_lse("triton")
            assert torch.equal(alone, whole[part]), (group, row)
            assert torch.equal(sum_alone, sums[part]), (group, row)


@triton.jit
def _widened(bytes_: tl.tensor, out: tl.tensor) -> None:
    at = tl.arange(0, 256)
    tl.store(out + at, numbers(tl.load(bytes_ + at), tl.float32))


def every_byte_is_the_number_it_stands_for() -> None:
    """Where the compiler has no float8."""
    bytes_, out = torch.arange(256).to(torch.uint8), torch.empty(256)
    _widened[(1,)](bytes_, out)
    exact = bytes_.view(FP8).float()
    torch.testing.assert_close(out, exact, rtol=0, atol=0, equal_nan=True)


def strides_past_32_bits() -> None:
    """33 tokens 2**26 numbers apart; memory between them is never touched."""
    tokens, apart = 33, 2**26
    room = torch.empty(tokens * apart, dtype=INT8)
    far = room.as_strided((tokens, 1, 16), (apart, 16, 1))
    near = torch.randint(-127, 128, far.shape, dtype=INT8)
    far.copy_(near)
    scale = torch.rand(tokens, 1, 1) / 127
    q, k, v = torch.randn(3, 2, 1, 16)
    lengths = {"cu_seqlens_q": [0, 2], "cu_seqlens_k": [0, 2], "backend": "triton"}
    exact, got = (
        band_attention(q, k, v, prefixes=[Extent(part, part, scale, scale)], **lengths)
        for part in (near, far)
    )
    assert torch.equal(got, exact)


if __name__ == "__main__":
    strides_past_32_bits()
    # From here on, torch.empty gives NaN.
    torch.use_deterministic_algorithms(True)
    assert bool(torch.empty(9).isnan().all())
    for call in CALLS:
        compare(*call)
    several_dtypes_in_one_call()
    every_part_may_lie_differently()
    a_row_never_sees_another()
    a_row_alone_has_the_bits_it_has_in_company()
    every_byte_is_the_number_it_stands_for()
