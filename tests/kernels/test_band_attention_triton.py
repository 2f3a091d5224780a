"""Band attention's Triton kernel: its numbers in the interpreter, its code for two GPUs, on one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from minireranker.errors import ConfigurationError
from minireranker.kernels.band_attention import requirement

triton = pytest.importorskip("triton", reason="triton is not installed")

LENGTHS = (1, 15, 16, 17, 63, 64, 65, 130)
KINDS = [torch.bfloat16, torch.int8, torch.float32, torch.float8_e4m3fn]
COMPILED = [
    *((80, kind, dim, False) for kind in KINDS for dim in (128, 64)),
    *((90, kind, dim, False) for kind in KINDS for dim in (128, 64)),
    *((capability, torch.int8, 128, True) for capability in (80, 90)),
]
"""Capability, dtype of the prefix, head_dim, whether K's scales are by channel; groups of 2."""
NAMES = {torch.float32: "fp32", torch.bfloat16: "bf16"}
SHARED = {80: 163 * 1024, 90: 227 * 1024}
"""Bytes of shared memory a block may have (CUDA C++ Programming Guide, compute capabilities)."""


def compiled(
    capability: int, kind: torch.dtype, head_dim: int, by_channel: bool
) -> tuple[Any, Any]:
    """The launch and its code, for prefixes of ``kind``; also with the LSE."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from minireranker.kernels.band_attention import triton_launch as ours
    from minireranker.kernels.band_attention.launches import Numbers, Target, launch_of
    from minireranker.kernels.band_attention.runs import Kind
    from minireranker.kernels.band_attention.triton_kernel import kernel

    dtype = torch.bfloat16 if kind.itemsize == 1 else kind
    numbers, prefix = Numbers(dtype, head_dim, 2), Kind(kind, kind, by_channel)
    target = Target(divmod(capability, 10), SHARED[capability])
    launch = launch_of(numbers, prefix, target)
    constants = ours.constants(numbers, prefix, launch, target, lse=True)
    names = kernel.arg_names
    data = ("q", "own_k", "own_v", "header_k", "header_v", "out")
    types = dict.fromkeys(data, f"*{NAMES[dtype]}")
    types |= {"table": "*i64", "lse": "*fp32", "factor": "fp32"}
    strides = [n for n in names if n.endswith(("_token", "_head"))]
    code = triton.compile(
        ASTSource(
            kernel,
            {n: "constexpr" if n in constants else types.get(n, "i32") for n in names},
            constexprs=constants,
            attrs={
                (names.index(n),): [["tt.divisibility", 16]]
                for n in (*data, "table", "lse", *strides)
            },
        ),
        target=GPUTarget("cuda", capability, 32),
        options=ours.options(launch),
    )
    return launch, code


def test_the_interpreted_kernel_is_as_exact_as_plain_torch() -> None:
    script = Path(__file__).with_name("band_attention_interpreted.py")
    done = subprocess.run(
        [sys.executable, "-P", "-W", "error", str(script)],
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 14
    for line in lines:
        error, allowed = map(float, line.split("|")[1].split())
        assert error <= allowed, line


@pytest.mark.parametrize(("capability", "kind", "head_dim", "by_channel"), COMPILED)
def test_it_compiles_to_tensor_cores_without_spills(
    capability: int,
    kind: torch.dtype,
    head_dim: int,
    by_channel: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    launch, code = compiled(capability, kind, head_dim, by_channel)
    assert code.metadata.shared <= SHARED[capability]
    ptx = code.asm["ptx"]
    instruction = "wgmma.mma_async" if capability == 90 else "mma.sync"
    assert (instruction in ptx) is (kind is not torch.float32), "float32 takes no TF32"
    if head_dim == 128:
        # More copies of 16 bytes than header and own keys take: the prefix is known to be aligned.
        width = 4 if kind is torch.float32 else 2
        copies = launch.keys * head_dim * width // (16 * 32 * launch.num_warps)
        wide_copies = re.findall(r"cp\.async\.cg\.shared\.global .*, 0x10,", ptx)
        assert len(wide_copies) > 4 * copies * launch.num_stages
    cubin = tmp_path / "kernel.cubin"
    cubin.write_bytes(code.asm["cubin"])
    done = subprocess.run(
        [triton.knobs.nvidia.cuobjdump.path, "--dump-resource-usage", str(cubin)],
        capture_output=True,
        text=True,
        check=True,
    )
    stack = re.search(r"Function kernel:\s+REG:\d+ STACK:(\d+) .*LOCAL:0 ", done.stdout)
    assert stack is not None, done.stdout
    # float32, which the compiler keeps to few registers for more blocks at once, has 8 to 24 bytes.
    assert int(stack[1]) <= (24 if kind is torch.float32 else 0), done.stdout


def test_tiles_are_cut_by_numbers_alone() -> None:
    from minireranker.kernels.band_attention.launches import Numbers, Target, launch_of
    from minireranker.kernels.band_attention.runs import Kind

    plain, target = Kind(torch.bfloat16, torch.bfloat16), Target((9, 0), SHARED[90])
    rows = [launch_of(Numbers(plain.k, 128, group), plain, target).rows for group in (1, 7, 64, 65)]
    assert rows == [64, 64, 64, 128], "a token has to fit"


def test_a_device_with_less_shared_memory_has_fewer_stages() -> None:
    from minireranker.kernels.band_attention.launches import Numbers, Target, launch_of
    from minireranker.kernels.band_attention.runs import Kind

    numbers, plain = Numbers(torch.bfloat16, 128, 2), Kind(torch.bfloat16, torch.bfloat16)
    targets = [Target((9, 0), kib << 10) for kib in (227, 99, 64)]
    stages = [launch_of(numbers, plain, target).num_stages for target in targets]
    assert stages == [3, 2, 1]


@pytest.mark.parametrize(
    ("dtype", "head_dim", "message"),
    [(torch.float64, 16, "no torch.float64"), (torch.float32, 264, "at most 256, not 264")],
)
def test_what_it_cannot_do_is_refused(dtype: torch.dtype, head_dim: int, message: str) -> None:
    from minireranker.kernels.band_attention import triton as ours
    from minireranker.kernels.band_attention.launches import Numbers

    with pytest.raises(ConfigurationError, match=message):
        ours.check(Numbers(dtype, head_dim, 1))


def test_it_runs_on_no_cpu() -> None:
    assert "not on cpu; take" in str(requirement("triton", torch.device("cpu")))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("quantised", [None, torch.int8, torch.float8_e4m3fn])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("group", "head_dim"), [(1, 16), (2, 128), (4, 64), (4, 128), (7, 80)])
def test_the_kernel_on_a_gpu_is_as_exact_as_plain_torch(
    shape_of: Any,
    case_of: Callable[..., Any],
    group: int,
    head_dim: int,
    dtype: torch.dtype,
    quantised: torch.dtype | None,
) -> None:
    rows = [(q, q + more, p) for q in LENGTHS for more, p in ((0, 65), (16, 17), (130, None))]
    for shape in (
        shape_of(rows, 64, 8 * group, 8, head_dim, padding=17),
        shape_of([(1, 300, 1300), (1, 15, 0), (1, 1, 63)] * 9, None, group, 1, head_dim),
    ):
        case = case_of(shape, dtype=dtype).sharing()
        if quantised is not None:
            case = case.quantised(quantised)
        case = case.to(torch.device("cuda"))
        exact, exact_lse = case.to(torch.float64).attend_lse("reference")
        got, lse = case.attend_lse("triton")
        plain = float((case.attend("packed").double() - exact).abs().max())
        allowed = 2 * plain + torch.finfo(dtype).eps * float(exact.abs().max())
        assert float((got.double() - exact).abs().max()) <= allowed
        torch.testing.assert_close(lse, exact_lse.float(), rtol=0, atol=2e-5)
