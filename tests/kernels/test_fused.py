"""The fused passes: in plain torch, in Triton's interpreter, compiled for two GPUs, on one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from minireranker.kernels.fused import add_rms_norm, norm_rope, swiglu

DTYPES = [torch.float32, torch.bfloat16]


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 9), st.integers(1, 4), st.sampled_from([2, 16, 40]))
def test_heads_keep_their_norm_and_turn_by_the_angle(tokens: int, heads: int, dim: int) -> None:
    x, angles = random(tokens, heads, dim), random(tokens, dim // 2, seed=1)
    found = norm_rope(x, torch.ones(dim), angles.cos(), angles.sin(), 0.0)
    # As complex numbers: a rotation is a product.
    low, high = F.normalize(x, dim=-1).mul(dim**0.5).chunk(2, -1)
    turned = torch.complex(low, high) * torch.polar(torch.ones(()), angles)[:, None]
    torch.testing.assert_close(found, torch.cat((turned.real, turned.imag), -1))


@pytest.mark.parametrize("dtype", DTYPES)
def test_swiglu_is_rounded_once(dtype: torch.dtype) -> None:
    gate_up = random(5, 24, dtype=dtype)
    gate, up = gate_up.double().chunk(2, 1)
    exact = gate / (1 + torch.exp(-gate)) * up
    error = (swiglu(gate_up).double() - exact).abs()
    assert bool((error <= torch.finfo(dtype).eps * exact.abs() + 1e-7).all())


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_norm_is_of_the_rounded_sum(dtype: torch.dtype) -> None:
    x, added, weight = (random(4, 32, seed=s, dtype=dtype) for s in range(3))
    total, normed = add_rms_norm(x, added, weight[0], 1e-6)
    assert torch.equal(total, x + added)
    wide = total.double()
    exact = wide * (wide.square().mean(1, keepdim=True) + 1e-6).rsqrt() * weight[0].double()
    error = (normed.double() - exact).abs()
    assert bool((error <= torch.finfo(dtype).eps * exact.abs() + 1e-6).all())


def test_shapes_that_do_not_match_are_named() -> None:
    with pytest.raises(ValueError, match=r"heads \(3, 2, 8\).*cos \(2, 4\)"):
        norm_rope(random(3, 2, 8), random(8), random(2, 4), random(3, 4), 0.0)
    with pytest.raises(ValueError, match=r"\(3, 7\)"):
        swiglu(random(3, 7))
    with pytest.raises(ValueError, match=r"added \(3, 7\)"):
        add_rms_norm(random(3, 8), random(3, 7), random(8), 0.0)


def test_the_interpreted_kernels_equal_plain_torch_in_float64() -> None:
    pytest.importorskip("triton", reason="triton is not installed")
    script = Path(__file__).with_name("fused_interpreted.py")
    done = subprocess.run(
        [sys.executable, "-P", "-W", "error", str(script)],
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 27
    for line in lines:
        assert float(line.split()[-1]) <= 1.0, line


def compiled(name: str, capability: int) -> Any:
    """In bfloat16, for the widths of 2B."""
    triton = pytest.importorskip("triton", reason="triton is not installed")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from minireranker.kernels.fused import triton as ours

    kernel = getattr(ours, f"{name}_kernel")
    constants = {
        "norm_rope": {"HALF": 64, "BLOCK": 64, "ROWS": 16},
        "swiglu": {"BLOCK": 1024},
        "add_rms_norm": {"BLOCK": 2048},
    }[name]
    narrow = ("heads", "weight", "out", "gate_up", "x", "added", "total", "normed")
    types = dict.fromkeys(narrow, "*bf16") | {"cos": "*fp32", "sin": "*fp32", "eps": "fp32"}
    names = kernel.arg_names
    signature = {n: "constexpr" if n in constants else types.get(n, "i32") for n in names}
    sizes = [n for n in names if n == "features" or n.endswith("stride")]
    aligned = [n for n in names if signature[n].startswith("*") or n in sizes]
    return triton.compile(
        ASTSource(
            kernel,
            signature,
            constexprs=constants,
            attrs={(names.index(n),): [["tt.divisibility", 16]] for n in aligned},
        ),
        target=GPUTarget("cuda", capability, 32),
        options={"num_warps": 8 if name == "add_rms_norm" else 4, "enable_fp_fusion": True},
    )


@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize("name", ["norm_rope", "swiglu", "add_rms_norm"])
def test_they_compile_without_spills_and_move_sixteen_bytes(name: str, capability: int) -> None:
    ptx = compiled(name, capability).asm["ptx"]
    assert "ld.local" not in ptx
    assert "st.local" not in ptx
    assert re.search(r"ld\.global[.\w:]*\.v4\.b32", ptx), name


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dtype", DTYPES)
def test_on_a_device_they_equal_plain_torch(dtype: torch.dtype) -> None:
    heads, weight = random(70, 6, 128, dtype=dtype), random(128, seed=1, dtype=dtype)
    angles, gate_up = random(70, 64, seed=2), random(70, 3000, dtype=dtype)
    x, added, scale = (random(70, 2048, seed=s, dtype=dtype) for s in range(3))
    calls: list[tuple[Any, tuple[Tensor, ...], tuple[float, ...]]] = [
        (norm_rope, (heads, weight, angles.cos(), angles.sin()), (1e-6,)),
        (swiglu, (gate_up,), ()),
        (add_rms_norm, (x, added, scale[0]), (1e-6,)),
    ]
    for call, tensors, others in calls:
        found = call(*(tensor.cuda() for tensor in tensors), *others)
        exact = call(*(tensor.double() for tensor in tensors), *others)
        for one, other in zip(*map(_several, (found, exact)), strict=True):
            error = (one.cpu().double() - other).abs()
            assert bool((error <= 2 * torch.finfo(dtype).eps * other.abs() + 1e-5).all()), call


def _several(found: Any) -> tuple[Tensor, ...]:
    return found if isinstance(found, tuple) else (found,)
