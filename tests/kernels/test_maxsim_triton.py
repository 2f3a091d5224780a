"""MaxSim's Triton kernel: its numbers in the interpreter, its code for two GPUs, and on one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from minireranker.kernels.maxsim import maxsim

triton = pytest.importorskip("triton", reason="triton is not installed")

NAMES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.int8: "i8"}
SHARED = {80: 163 * 1024, 90: 227 * 1024}
"""Bytes of shared memory a block may have (CUDA C++ Programming Guide, compute capabilities)."""


def test_the_interpreted_kernel_equals_the_reference() -> None:
    script = Path(__file__).with_name("maxsim_interpreted.py")
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
        assert float(line.split()[-1]) < 2e-6, line


def compiled(capability: int, dtype: torch.dtype, dim: int, longest: int) -> Any:
    """With every option that costs registers, for queries of at most ``longest`` tokens."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from minireranker.kernels.maxsim import triton as ours
    from minireranker.kernels.maxsim.call import Call, Tokens

    rows, one = torch.ones(64, dim).to(dtype), torch.ones(1, dtype=torch.int64)
    scales = torch.ones(64) if dtype is torch.int8 else None
    mask = torch.ones(64, dtype=torch.bool)
    sides = [Tokens(name, rows, mask, scales) for name in ("queries", "documents")]
    call = Call(*sides, (0, 64), one, one, "mean", 2**16)
    launch = ours.launch_of(dim, longest, dtype)
    constants = ours.constants(call, dtype, launch)
    types = {"out": "*fp32", "cu_seqlens": "*i64", "starts": "*i64", "lengths": "*i64"}
    for side, name in (("query", "queries"), ("document", "documents")):
        types |= {name: f"*{NAMES[dtype]}", f"{side}_mask": "*u8", f"{side}_scales": "*fp32"}
        types |= {f"{side}_stride": "i32", f"n_{name}": "i32"}
    names = ours.kernel.arg_names
    signature = {n: "constexpr" if n in constants else types.get(n, "i32") for n in names}
    aligned = ("queries", "documents", "query_stride", "document_stride")
    return triton.compile(
        ASTSource(
            ours.kernel,
            signature,
            constexprs=constants,
            attrs={(names.index(n),): [["tt.divisibility", 16]] for n in aligned},
        ),
        target=GPUTarget("cuda", capability, 32),
        options={
            "num_warps": launch.num_warps,
            "num_stages": launch.num_stages,
            "enable_fp_fusion": True,
        },
    )


@pytest.mark.parametrize(("dim", "longest"), [(128, 32), (128, 64), (2048, 64)])
@pytest.mark.parametrize("dtype", list(NAMES))
@pytest.mark.parametrize("capability", [80, 90])
def test_it_compiles_to_tensor_cores_without_spills(
    capability: int,
    dtype: torch.dtype,
    dim: int,
    longest: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    code = compiled(capability, dtype, dim, longest)
    assert code.metadata.shared <= SHARED[capability]
    ptx = code.asm["ptx"]
    instruction = {80: "mma.sync", 90: "wgmma.mma_async"}[capability]
    assert (instruction in ptx) is (dtype is not torch.float32), "float32 takes no TF32"
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
    # float32, without tensor cores, had 8 to 32 bytes on sm_90 with each of the tiles tried.
    assert int(stack[1]) <= (24 if dtype is torch.float32 else 0), done.stdout


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dtype", list(NAMES))
@pytest.mark.parametrize("dim", [40, 128, 2048])
def test_the_kernel_on_a_gpu_equals_the_reference(dtype: torch.dtype, dim: int) -> None:
    random = torch.Generator().manual_seed(0)
    lengths = torch.randint(0, 833, (40,), generator=random)
    ends = lengths.cumsum(0)
    total = int(ends[-1])
    parts: dict[str, Any] = {}
    for side, name, count in (("query", "queries", 130), ("document", "documents", total)):
        if dtype is torch.int8:
            vectors = torch.randint(-128, 128, (count, dim), generator=random, dtype=dtype)
            parts[f"{side}_scales"] = torch.rand(count, generator=random).cuda()
        else:
            vectors = torch.randn(count, dim, generator=random).to(dtype)
        parts[name] = vectors.cuda()
        parts[f"{side}_mask"] = (torch.rand(count, generator=random) < 0.8).cuda()
    call = {"cu_seqlens_q": [0, 32, 32, 130], "starts": ends - lengths, "lengths": lengths}
    exact = maxsim(**parts, **call, backend="reference")
    got = maxsim(**parts, **call, backend="auto")
    torch.testing.assert_close(got, exact, rtol=2e-5, atol=1e-4 * dim)
