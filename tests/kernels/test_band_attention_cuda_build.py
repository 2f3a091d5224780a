"""Building band attention's CUDA kernel: for two GPUs without having one, once, and with words."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from minireranker.errors import ConfigurationError
from minireranker.kernels.band_attention import cuda
from minireranker.kernels.band_attention.cuda_build import (
    Variant,
    build_folder,
    cubin_of,
    kernel_source,
)
from minireranker.kernels.band_attention.cuda_compilers import (
    Compiler,
    Nvcc,
    Source,
    find_nvrtc,
)

VARIANT = Variant("Bf16", 64, 4, "sm_80")
SHARED = {"sm_80": 163 * 1024, "sm_90a": 227 * 1024}
"""Bytes of shared memory a block may have (CUDA C++ Programming Guide, compute capabilities)."""
BROKEN = Source("broken.cu", {"broken.cu": b"__global__ void kernel() { undeclared(); }\n"})


def nvcc() -> Compiler:
    path = shutil.which("nvcc")
    if path is None:
        pytest.skip("no nvcc")
    return Nvcc(path)


def nvrtc() -> Compiler:
    found = find_nvrtc()
    if found is None:
        pytest.skip("no libnvrtc")
    return found


def disassembled(cubin: Path) -> str:
    """By what Triton's wheel brings along."""
    triton = pytest.importorskip("triton", reason="triton is not installed")
    command = [triton.knobs.nvidia.cuobjdump.path, "-sass", str(cubin)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@dataclass
class Counting:
    """A compiler that makes no machine code and remembers what it was asked for."""

    version: str = "1"
    asked: list[tuple[str, ...]] = field(default_factory=list)

    def compile(self, source: Source, macros: Sequence[str], architecture: str) -> bytes:
        self.asked.append((source.name, *macros, architecture))
        return b"cubin number %d of some length" % len(self.asked)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINIRERANKER_BUILD", str(tmp_path / "builds"))
    return tmp_path / "builds"


def instances() -> dict[str, str]:
    """Every kernel there is, under a name of its own: the .cu is included once for each."""
    found = {}
    for element, dim, warps in itertools.product(
        cuda.ELEMENTS.values(), cuda.HEAD_DIMS, cuda.WARPS
    ):
        name = f"kernel_{element}_{dim}_{warps}"
        macros = [*Variant(element, dim, warps, "").macros, f"band_attention={name}"]
        defined = "".join(f"#define {macro.replace('=', ' ')}\n" for macro in macros)
        undefined = "".join(f"#undef {macro.partition('=')[0]}\n" for macro in macros)
        found[name] = f'{defined}#include "band_attention.cu"\n{undefined}'
    return found


@pytest.mark.parametrize("architecture", list(SHARED))
def test_every_kernel_builds_for_tensor_cores_without_spills(
    architecture: str, tmp_path: Path
) -> None:
    nvcc()
    kernels = instances()
    source = tmp_path / "all.cu"
    source.write_text("".join(kernels.values()))
    number, cubin = architecture.removeprefix("sm_"), tmp_path / "all.cubin"
    target = f"-gencode=arch=compute_{number},code={architecture}"
    include = f"-I{Path(cuda.__file__).parents[1] / 'csrc'}"
    flags = ["-cubin", "-std=c++17", target, include, "-Xptxas", "-v", "-Werror", "all-warnings"]
    done = subprocess.run(
        ["nvcc", *flags, "-o", str(cubin), str(source)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    said = done.stderr.split("Compiling entry function ")[1:]
    assert {text.split("'")[1] for text in said} == set(kernels)
    for text in said:
        frame = re.search(
            r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", text
        )
        assert frame is not None
        assert frame.groups() == ("0", "0", "0"), text
        warps, registers = (
            int(text.split("'")[1].split("_")[-1]),
            re.search(r"Used (\d+) reg", text),
        )
        assert registers is not None
        # As many blocks as the launch bounds promise, in 64 K registers.
        assert int(registers[1]) * 32 * warps * (12 // warps) <= 65536, text
    functions = disassembled(cubin).split("Function : ")[1:]
    assert {text.split()[0] for text in functions} == set(kernels)
    for text in functions:
        _, element, dim, _ = text.split()[0].split("_")
        kind = r"HMMA\.16816\.F32\.BF16" if element == "Bf16" else r"HMMA\.16816\.F32 "
        # Of a span of 32 keys: 4 x 8 by dim scores, and the weights by dim values.
        assert len(re.findall(kind, text)) >= 2 * int(dim) // 16 * 4
        assert {"LDSM", "LDGSTS"} <= set(re.findall(r"LDSM|LDGSTS", text))
        assert not re.search(r"\b(LDL|STL)\b", text)
    assert max(map(cuda.shared_bytes, cuda.HEAD_DIMS)) <= SHARED[architecture]


@pytest.mark.parametrize("compiler", [nvcc, nvrtc])
def test_a_cubin_is_of_the_architecture_asked_for(
    compiler: Callable[[], Compiler], folder: Path
) -> None:
    cubin = cubin_of(VARIANT, compiler())
    assert cubin.startswith(b"\x7fELF")
    (path,) = folder.glob("band_attention-bf16-64-4-sm_80-*.cubin")
    plain = folder / "plain.cubin"
    plain.write_bytes(cubin)
    assert path.stat().st_size > len(cubin)
    code = disassembled(plain)
    assert "code for sm_80\n" in code
    assert "Function : band_attention\n" in code


@pytest.mark.parametrize("compiler", [nvcc, nvrtc])
def test_a_compiler_that_fails_is_quoted(compiler: Callable[[], Compiler], folder: Path) -> None:
    with pytest.raises(ConfigurationError, match=r'sm_80; take(.|\n)*"undeclared" is undefined'):
        cubin_of(VARIANT, compiler(), BROKEN)
    assert list(folder.glob("*.cubin")) == []


def test_a_compiler_that_does_not_start_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="none/nvcc cannot build"):
        cubin_of(VARIANT, Nvcc(str(tmp_path / "none" / "nvcc")))


def test_what_was_built_is_kept(folder: Path) -> None:
    compiler = Counting()
    first = cubin_of(VARIANT, compiler)
    assert cubin_of(VARIANT, compiler) == first
    assert compiler.asked == [("band_attention.cu", *VARIANT.macros, "sm_80")]
    assert sorted(path.suffix for path in folder.iterdir()) == [".cubin", ".lock"]


def test_whatever_it_is_made_of_makes_another(folder: Path) -> None:
    compiler, source = Counting(), kernel_source()
    cubin_of(VARIANT, compiler)
    changes = [
        (Variant("Fp16", 64, 4, "sm_80"), source),
        (Variant("Bf16", 80, 4, "sm_80"), source),
        (Variant("Bf16", 64, 6, "sm_80"), source),
        (Variant("Bf16", 64, 4, "sm_90a"), source),
        (VARIANT, Source(source.name, {**source.files, "warp.cuh": b""})),
    ]
    for variant, files in changes:
        cubin_of(variant, compiler, files)
    assert len(compiler.asked) == 1 + len(changes)
    newer = Counting(version="2")
    cubin_of(VARIANT, newer)
    assert len(newer.asked) == 1


@pytest.mark.parametrize("kept", [0, 5, 20, -1])
def test_a_truncated_file_is_built_again(
    folder: Path, kept: int, caplog: pytest.LogCaptureFixture
) -> None:
    compiler = Counting()
    cubin_of(VARIANT, compiler)
    (path,) = folder.glob("*.cubin")
    path.write_bytes(path.read_bytes()[:kept])
    assert cubin_of(VARIANT, compiler) == b"cubin number 2 of some length"
    assert "is damaged and is built again" in caplog.text
    assert cubin_of(VARIANT, compiler) == b"cubin number 2 of some length"
    assert len(compiler.asked) == 2


SLOW = """
import sys, time
from pathlib import Path
from minireranker.kernels.band_attention.cuda_build import Variant, cubin_of

class Slow:
    version = "1"
    def compile(self, source, macros, architecture):
        with Path(sys.argv[1]).open("a") as log:
            log.write("built\\n")
        time.sleep(1)
        return b"cubin"

print("ready", flush=True)
sys.stdin.readline()
assert cubin_of(Variant("Bf16", 64, 4, "sm_80"), Slow()) == b"cubin"
"""


def test_of_two_processes_at_once_one_builds(folder: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = [sys.executable, "-P", "-W", "error", "-c", SLOW, str(log)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    processes = [subprocess.Popen(command, text=True, **pipes) for _ in range(2)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        process.communicate()
        assert process.returncode == 0
    assert log.read_text() == "built\n"


def test_a_folder_that_holds_nothing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MINIRERANKER_BUILD", str(tmp_path / "file"))
    with pytest.raises(ConfigurationError, match=r"file cannot hold .* MINIRERANKER_BUILD"):
        cubin_of(VARIANT, Counting())


def test_builds_lie_in_the_user_s_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIRERANKER_BUILD", "~/builds")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert build_folder() == tmp_path / "builds"
    monkeypatch.delenv("MINIRERANKER_BUILD")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert build_folder() == tmp_path / "xdg" / "minireranker" / "build"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert build_folder() == tmp_path / ".cache" / "minireranker" / "build"
    assert os.listdir(tmp_path) == []
