"""What turns the kernel's source into machine code: nvcc if it is on PATH, else NVRTC.

NVRTC is a library; torch's CUDA builds bring it along, and it needs no host compiler.
"""

from __future__ import annotations

import ctypes
import functools
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from minireranker.errors import ConfigurationError

__all__ = ["Compiler", "Nvcc", "Nvrtc", "Source", "find_compiler", "find_nvrtc"]


@dataclass(frozen=True)
class Source:
    """One ``.cu`` file and the headers beside it."""

    name: str
    files: Mapping[str, bytes]
    """Contents by name, that of ``name`` among them."""


class Compiler(Protocol):
    """Both kinds."""

    @property
    def version(self) -> str:
        """Changes whenever the machine code may."""

    def compile(self, source: Source, macros: Sequence[str], architecture: str) -> bytes:
        """A cubin for ``architecture`` (such as "sm_80").

        ``macros``: NAME=VALUE. Raises ConfigurationError with the compiler's own words.
        """


@functools.lru_cache(maxsize=1)
def find_compiler() -> Compiler | None:
    """The one to use here, if there is any."""
    path = shutil.which("nvcc")
    return Nvcc(path) if path is not None else find_nvrtc()


def find_nvrtc() -> Nvrtc | None:
    """The library, if there is one."""
    for name in _nvrtc_names():
        try:
            return Nvrtc(ctypes.CDLL(name))
        except OSError:
            continue
    return None


def _nvrtc_names() -> list[str]:
    """Where the loader finds it, then where the packages beside torch have it."""
    site = Path(torch.__file__).parents[1]
    found = [*site.glob("nvidia/*/lib/libnvrtc.so.*"), *site.glob("torch/lib/libnvrtc*.so*")]
    beside = sorted(str(path) for path in found if "builtins" not in path.name)
    return ["libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so", *beside]


def _failed(compiler: str, architecture: str, words: str) -> ConfigurationError:
    return ConfigurationError(
        f"{compiler} cannot build band_attention's backend 'cuda' for {architecture}; take "
        f"backend='auto', or another compiler. It says:\n{words.strip()}"
    )


class Nvcc:
    """The CUDA toolkit's compiler, a program."""

    def __init__(self, path: str) -> None:
        """``path``: of the program."""
        self._path = path

    @functools.cached_property
    def version(self) -> str:
        """What it prints. Raises ConfigurationError if it does not even start."""
        return self._run(["--version"], "any device")

    def compile(self, source: Source, macros: Sequence[str], architecture: str) -> bytes:
        """See ``Compiler``."""
        number = architecture.removeprefix("sm_")
        with tempfile.TemporaryDirectory(prefix="minireranker-") as scratch:
            folder = Path(scratch)
            for name, content in source.files.items():
                (folder / name).write_bytes(content)
            out = folder / "out.cubin"
            # Spelled out, because the short form builds for the plain architecture as well.
            target = f"-gencode=arch=compute_{number},code={architecture}"
            flags = ["-cubin", "-std=c++17", target, *(f"-D{macro}" for macro in macros)]
            self._run([*flags, "-o", str(out), str(folder / source.name)], architecture)
            return out.read_bytes()

    def _run(self, arguments: list[str], architecture: str) -> str:
        try:
            done = subprocess.run([self._path, *arguments], capture_output=True, text=True)
        except OSError as error:
            raise _failed(self._path, architecture, str(error)) from error
        if done.returncode:
            words = done.stderr + done.stdout or f"nothing, and ends with {done.returncode}"
            raise _failed(self._path, architecture, words)
        return done.stdout


class Nvrtc:
    """The compiler as a library; functions are those of the NVRTC documentation."""

    def __init__(self, library: ctypes.CDLL) -> None:
        """``library``: libnvrtc."""
        self._library = library
        library.nvrtcGetErrorString.restype = ctypes.c_char_p

    @functools.cached_property
    def version(self) -> str:
        """Such as "NVRTC 13.0"."""
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
        return f"NVRTC {major.value}.{minor.value}"

    def compile(self, source: Source, macros: Sequence[str], architecture: str) -> bytes:
        """See ``Compiler``."""
        program = ctypes.c_void_p()
        headers = {name: text for name, text in source.files.items() if name != source.name}
        many = ctypes.c_char_p * len(headers)
        self._call(
            "CreateProgram",
            architecture,
            ctypes.byref(program),
            source.files[source.name],
            source.name.encode(),
            len(headers),
            many(*headers.values()),
            many(*(name.encode() for name in headers)),
        )
        try:
            return self._compile(program, macros, architecture)
        finally:
            self._library.nvrtcDestroyProgram(ctypes.byref(program))

    def _compile(self, program: ctypes.c_void_p, macros: Sequence[str], architecture: str) -> bytes:
        flags = ["--std=c++17", f"--gpu-architecture={architecture}"]
        flags += [f"--define-macro={macro}" for macro in macros]
        options = (ctypes.c_char_p * len(flags))(*(flag.encode() for flag in flags))
        status = self._library.nvrtcCompileProgram(program, len(flags), options)
        if status:
            log = self._text(program, "ProgramLog", architecture).rstrip(b"\0").decode()
            raise _failed(self.version, architecture, f"{self._words(status)}\n{log}")
        return self._text(program, "CUBIN", architecture)

    def _text(self, program: ctypes.c_void_p, what: str, architecture: str) -> bytes:
        size = ctypes.c_size_t()
        self._call(f"Get{what}Size", architecture, program, ctypes.byref(size))
        room = ctypes.create_string_buffer(size.value)
        self._call(f"Get{what}", architecture, program, room)
        return room.raw

    def _call(self, name: str, architecture: str, *arguments: object) -> None:
        status = getattr(self._library, f"nvrtc{name}")(*arguments)
        if status:
            raise _failed(self.version, architecture, f"nvrtc{name}: {self._words(status)}")

    def _words(self, status: int) -> str:
        words: bytes = self._library.nvrtcGetErrorString(status)
        return words.decode()
