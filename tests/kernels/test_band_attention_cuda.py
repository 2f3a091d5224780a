"""Band attention's CUDA kernel: its own source, run instruction by instruction on the host.

``band_attention_host.cpp`` brings what the kernel takes from the hardware (matrix products, copies,
barriers) and includes the rest as it is. Copies happen as early or as late as they may, warps go
forwards or backwards, and what is read but belongs to nobody is an error.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from minireranker.errors import ConfigurationError
from minireranker.kernels.band_attention import Call, Extent, cuda, requirement
from minireranker.kernels.band_attention.cuda_table import FORMATS, Launch, Work
from minireranker.kernels.band_attention.tiles import LAYOUT

SOURCE = Path(cuda.__file__).parents[1] / "csrc"
NAN = float("nan")
# (query tokens, own tokens, prefix tokens) a row; header; heads, KV heads, head_dim; warps.
SHAPES: dict[str, Any] = {
    "as scored": ([(40, 40, 150), (40, 40, 131)], 20, 2, 1, 128, 6),
    "lengths around a chunk": (
        [(1, 1, None), (15, 15, 1), (16, 17, 16), (17, 64, 63), (63, 63, 65), (65, 130, 0)],
        *(5, 2, 1, 80, 4),
    ),
    "no header, group 7": ([(1, 130, 130), (2, 65, None), (40, 47, 64)], None, 7, 1, 64, 8),
    "the last layer, group 4": ([(1, 40, 17), (1, 33, 63), (1, 1, 64)], 64, 8, 2, 128, 4),
    "no prefix, group 1": ([(130, 130, None), (7, 9, None)], None, 2, 2, 16, 8),
    "narrow": ([(17, 17, 64), (1, 2, 15), (16, 16, 16)], 1, 6, 3, 32, 6),
}


class Host:
    """The kernel, built for this machine."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self.library = library
        library.shared_bytes.restype = ctypes.c_longlong

    def attend(
        self, call: Call, warps: int, *, eager: bool = False, backwards: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """As ``cuda.attend``, into NaN. Raises RuntimeError for what a device would suffer from."""
        call = cuda.aligned(call)
        work = Work.of(call, warps * 16)
        for result in (work.out, work.lse):
            if result is not None:
                result.fill_(NAN)
        spans = [edge for tensor in readable(call) for edge in span_of(tensor)]
        ranges = (ctypes.c_longlong * len(spans))(*spans)
        half = int(call.q.dtype is torch.float16)
        for tiles, launch in work.launches():
            error = ctypes.create_string_buffer(256)
            sizes = tiles, call.k.shape[1], half, call.q.shape[2], warps, eager, backwards
            self.library.emulate(ctypes.byref(launch), *sizes, ranges, len(spans) // 2, error)
            if error.value:
                raise RuntimeError(error.value.decode())
        return work.out, work.lse


def readable(call: Call) -> list[Tensor]:
    """What the copies of a launch may touch."""
    extents = [extent for extent in (call.header, *call.prefixes) if extent is not None]
    parts = [part for extent in extents for part in extent if part is not None]
    return [call.k[: call.cu_k[-1]], call.v[: call.cu_k[-1]], *parts]


def span_of(tensor: Tensor) -> tuple[int, int]:
    """First address and the one past the last number."""
    if not tensor.numel():
        return 0, 0
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    last = sum((size - 1) * stride for size, stride in steps)
    return tensor.data_ptr(), tensor.data_ptr() + (last + 1) * tensor.element_size()


@pytest.fixture(scope="session")
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no g++ to build the kernel for this machine with")
    out = tmp_path_factory.mktemp("host") / "kernel.so"
    program = Path(__file__).with_name("band_attention_host.cpp")
    flags = ["-std=c++17", "-O1", "-fno-strict-aliasing", "-shared", "-fPIC", "-Wall", "-Werror"]
    done = subprocess.run(
        [compiler, *flags, "-Wno-unknown-pragmas", f"-I{SOURCE}", "-o", str(out), str(program)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return Host(ctypes.CDLL(str(out)))


def made(shape_of: Any, case_of: Callable[..., Any], name: str, dtype: torch.dtype) -> Any:
    rows, header, heads, kv_heads, head_dim, _ = SHAPES[name]
    return case_of(shape_of(rows, header, heads, kv_heads, head_dim), 0, dtype)


def assert_as_exact(host: Host, case: Any, warps: int) -> None:
    """At most twice the error of two matrix products in the dtype, plus one rounding."""
    exact, log_sums = case.to(torch.float64).attend_lse("reference")
    out, lse = host.attend(case.call(lse=True), warps)
    assert lse is not None
    rows = case.cu_q[-1]
    assert torch.equal(out[rows:], torch.zeros_like(out[rows:]))
    assert lse[rows:].isneginf().all()
    ours = float((out.double() - exact).abs().max())
    theirs = float((case.attend("packed").double() - exact).abs().max())
    assert ours <= 2 * theirs + torch.finfo(out.dtype).eps * float(exact.abs().max())
    # Products of the dtype are exact in float32; a rounded V of a quantised prefix has no part in
    # the LSE, its rounded K has.
    quantised = any(extent is not None and extent.k_scale is not None for extent in case.prefixes)
    allowed = 4 * torch.finfo(out.dtype).eps if quantised else 2e-6
    scale = max(1.0, float(log_sums[:rows].abs().max()))
    assert float((lse - log_sums)[:rows].abs().max()) <= allowed * scale


@pytest.mark.parametrize("dtype", list(cuda.ELEMENTS))
@pytest.mark.parametrize("name", list(SHAPES))
def test_error_is_within_twice_that_of_plain_torch(
    host: Host, shape_of: Any, case_of: Callable[..., Any], name: str, dtype: torch.dtype
) -> None:
    case = made(shape_of, case_of, name, dtype)
    assert_as_exact(host, case, SHAPES[name][-1])
    assert_as_exact(host, case.sharing(), SHAPES[name][-1])


KEPT = {"as scored": "channel", "narrow": "channel", "no header, group 7": "head"}
"""What scales are for, by shape; the others have one a token."""


@pytest.mark.parametrize("dtype", list(cuda.ELEMENTS))
@pytest.mark.parametrize("numbers", list(FORMATS))
@pytest.mark.parametrize("name", list(SHAPES))
def test_error_with_quantised_prefixes(
    host: Host,
    shape_of: Any,
    case_of: Callable[..., Any],
    name: str,
    numbers: torch.dtype,
    dtype: torch.dtype,
) -> None:
    case = made(shape_of, case_of, name, dtype).sharing()
    case = case.quantised(numbers, KEPT.get(name, "token"))
    assert_as_exact(host, case, SHAPES[name][-1])


def test_prefixes_of_every_kind_in_one_call(
    host: Host, shape_of: Any, case_of: Callable[..., Any]
) -> None:
    rows = [(3, 3, 40), (2, 9, 70), (5, 5, 33), (4, 4, None), (1, 1, 65)]
    case = case_of(shape_of(rows, 3, 4, 2, 80), 0, torch.bfloat16)
    eight = [case.quantised(kind).prefixes for kind in FORMATS]
    k, v = eight[0][4], eight[1][4]  # int8 and float8 in one extent
    mixed = Extent(k.k, v.v, k.k_scale, v.v_scale)
    prefixes = [case.prefixes[0], eight[0][1], eight[1][2], None, mixed]
    prefixes[2] = case.quantised(torch.int8, "channel").prefixes[2]
    case = replace(case, prefixes=prefixes)
    assert len(list(Work.of(case.call(), 64).launches())) == 4
    assert_as_exact(host, case, 4)


@pytest.mark.parametrize("numbers", [None, torch.int8])
def test_neither_late_copies_nor_the_order_of_warps_changes_a_bit(
    host: Host, shape_of: Any, case_of: Callable[..., Any], numbers: torch.dtype | None
) -> None:
    rows = [(9, 9, 130), (8, 70, 130)]
    case = case_of(shape_of(rows, 7, 4, 1, 32), 0, torch.bfloat16).sharing()
    case = case if numbers is None else case.quantised(numbers)
    outs = [
        host.attend(case.call(), 6, eager=eager, backwards=backwards)[0]
        for eager in (False, True)
        for backwards in (False, True)
    ]
    assert outs[0].isfinite().all()
    for out in outs[1:]:
        assert torch.equal(out, outs[0])


@pytest.mark.parametrize(
    ("dtype", "kept"),
    [
        (torch.bfloat16, None),
        (torch.float16, (torch.int8, "channel")),
        (torch.bfloat16, (torch.int8, "token")),
        (torch.bfloat16, (torch.float8_e4m3fn, "head")),
    ],
)
def test_a_row_alone_has_the_bits_it_has_in_company(
    host: Host,
    shape_of: Any,
    case_of: Callable[..., Any],
    dtype: torch.dtype,
    kept: tuple[torch.dtype, str] | None,
) -> None:
    """Next to rows of its document and others, in a block of more warps and in one of fewer."""
    rows = [(9, 9, 70), (8, 70, 70), (1, 3, 70), (5, 90, 70), (2, 2, 33), (20, 21, None)]
    case = case_of(shape_of(rows, 7, 2, 1, 128), 0, dtype)
    case = replace(case, prefixes=[case.prefixes[0]] * 4 + case.prefixes[4:])
    case = case if kept is None else case.quantised(*kept)
    whole, sums = host.attend(case.call(lse=True), 6)
    assert sums is not None
    for row in range(len(rows)):
        part = slice(case.cu_q[row], case.cu_q[row + 1])
        for warps in (4, 6):
            alone, sum_alone = host.attend(case.only(row).call(lse=True), warps)
            assert torch.equal(alone, whole[part]), (row, warps)
            assert sum_alone is not None
            assert torch.equal(sum_alone, sums[part]), (row, warps)


def test_the_host_notices_what_nobody_owns(
    host: Host, shape_of: Any, case_of: Callable[..., Any]
) -> None:
    """The launch says that the last document has a token more than it has."""
    case = case_of(shape_of([(3, 3, 40)], None, 2, 1, 80), 0, torch.bfloat16)
    call = case.call()
    longer = case.prefixes[0].k._base[:, 2:43, 1]
    host.attend(replace(call, prefixes=[Extent(longer[0], longer[1])]), 4)
    work = Work.of(replace(call, prefixes=[Extent(longer[0], longer[1])]), 64)
    ((tiles, launch),) = work.launches()
    spans = [edge for tensor in readable(call) for edge in span_of(tensor)]
    ranges = (ctypes.c_longlong * len(spans))(*spans)
    error = ctypes.create_string_buffer(256)
    sizes = tiles, 1, 0, 80, 4, 0, 0
    host.library.emulate(ctypes.byref(launch), *sizes, ranges, len(spans) // 2, error)
    assert error.value == b"a copy reads what nobody owns"


def test_both_sides_lay_out_the_same(host: Host) -> None:
    assert ctypes.sizeof(Launch) == host.library.launch_bytes()
    assert LAYOUT.itemsize == host.library.tile_bytes()
    for head_dim in cuda.HEAD_DIMS:
        assert cuda.shared_bytes(head_dim) == host.library.shared_bytes(head_dim)
        # Two blocks a multiprocessor from sm_80 on; one where it has 100 KB (sm_86, sm_89).
        assert 2 * cuda.shared_bytes(head_dim) <= 163 * 1024
    assert host.library.shared_bytes(48) == 0


@pytest.mark.parametrize("kind", list(FORMATS))
def test_every_byte_is_the_number_it_stands_for(host: Host, kind: torch.dtype) -> None:
    found = torch.full((256,), NAN)
    host.library.numbers(FORMATS[kind], ctypes.c_void_p(found.data_ptr()))
    exact = torch.arange(256, dtype=torch.int32).to(torch.uint8).view(kind).float()
    torch.testing.assert_close(found, exact, rtol=0, atol=0, equal_nan=True)
    assert int(exact.isnan().sum()) == (2 if kind.is_floating_point else 0)


@pytest.mark.parametrize("part", ["q", "k", "prefix", "header"])
def test_what_lies_crooked_is_copied_and_the_rest_is_not(
    host: Host, shape_of: Any, case_of: Callable[..., Any], part: str
) -> None:
    case = case_of(shape_of([(3, 3, 40), (2, 2, 40)], 3, 2, 1, 80), 0, torch.bfloat16).sharing()
    before = host.attend(case.call(), 4)[0]

    def crooked(tensor: Tensor) -> Tensor:
        room = torch.full((tensor.numel() + 1,), NAN, dtype=tensor.dtype)[1:]
        return room.view(tensor.shape).copy_(tensor)

    if part in ("q", "k"):
        changed = replace(case, **{part: crooked(getattr(case, part))})
    elif part == "header":
        changed = replace(case, header=Extent(case.header.k, crooked(case.header.v)))
    else:
        moved = Extent(crooked(case.prefixes[0].k), case.prefixes[0].v)
        changed = replace(case, prefixes=[moved, moved])
    call, straight = changed.call(), cuda.aligned(changed.call())
    assert cuda.aligned(straight) is straight is not call
    assert straight.runs() == call.runs() == [(0, 2)]
    ours, theirs = [*readable(straight), straight.q], [*readable(call), call.q]
    same = [a.data_ptr() == b.data_ptr() for a, b in zip(ours, theirs, strict=True)]
    assert same.count(False) == (2 if part == "prefix" else 1)
    assert torch.equal(host.attend(call, 4)[0], before)


@pytest.mark.parametrize(
    ("tokens", "heads", "warps"),
    [(1, 2, 4), (32, 2, 4), (33, 2, 6), (40, 2, 6), (49, 2, 8), (40, 4, 6), (400, 2, 8)],
)
def test_a_run_is_cut_into_few_tiles(
    shape_of: Any, case_of: Callable[..., Any], tokens: int, heads: int, warps: int
) -> None:
    case = case_of(shape_of([(tokens, tokens, 3), (1, 1, 2)], None, heads, 1, 16))
    assert cuda.warps_of(case.call()) == warps


@pytest.mark.parametrize(
    ("heads", "head_dim", "dtype", "message"),
    [
        (2, 64, torch.float32, "bfloat16 and float16, not torch.float32"),
        (2, 24, torch.bfloat16, "16, 32, 64, 80, 128 numbers, not 24"),
        (129, 16, torch.bfloat16, "at most 128 query heads a KV head, not 129"),
    ],
)
def test_what_there_is_no_kernel_of_is_refused(
    shape_of: Any,
    case_of: Callable[..., Any],
    heads: int,
    head_dim: int,
    dtype: torch.dtype,
    message: str,
) -> None:
    case = case_of(shape_of([(1, 1, None)], None, heads, 1, head_dim), 0, dtype)
    with pytest.raises(ConfigurationError, match=message):
        cuda.attend(case.call())


def test_a_cpu_is_refused(shape_of: Any, case_of: Callable[..., Any]) -> None:
    reason = requirement("cuda", torch.device("cpu"))
    assert reason is not None
    assert "runs on CUDA devices, not on cpu" in reason
    with pytest.raises(ConfigurationError, match="runs on CUDA devices, not on cpu"):
        case_of(shape_of([(1, 1, None)], None, 2, 1, 64), 0, torch.bfloat16).attend("cuda")
