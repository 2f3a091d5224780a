"""Building the CUDA kernel when it is first used, and keeping what was built.

A file a variant, named by what it was made of: the sources, the macros, the architecture and the
compiler's version. It is written beside its place and moved there, under a lock, so that of many
processes one builds; its last bytes vouch for the others.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import logging
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from minireranker.errors import ConfigurationError

from .cuda_compilers import Compiler, Source

__all__ = ["Variant", "build_folder", "cubin_of", "kernel_source"]

_log = logging.getLogger(__name__)
_DIGEST = hashlib.sha256().digest_size


@dataclass(frozen=True)
class Variant:
    """One compilation of ``csrc/band_attention.cu``."""

    element: str
    """Of the matrix products: ``Bf16`` or ``Fp16``."""
    head_dim: int
    warps: int
    architecture: str
    """Such as ``sm_90a``."""

    @property
    def macros(self) -> tuple[str, ...]:
        """NAME=VALUE."""
        return (
            f"BAND_ELEMENT={self.element}",
            f"BAND_HEAD_DIM={self.head_dim}",
            f"BAND_WARPS={self.warps}",
        )

    @property
    def name(self) -> str:
        """What its file's name starts with."""
        parts = self.element.lower(), self.head_dim, self.warps, self.architecture
        return "-".join(("band_attention", *map(str, parts)))


@functools.lru_cache(maxsize=1)
def kernel_source() -> Source:
    """The kernel's files, as they are installed."""
    folder = Path(__file__).parents[1] / "csrc"
    paths = sorted([*folder.glob("band_attention.cu"), *folder.glob("*.cuh")])
    return Source("band_attention.cu", {path.name: path.read_bytes() for path in paths})


def build_folder() -> Path:
    """$MINIRERANKER_BUILD, else ``minireranker/build`` in the user's cache folder.

    Raises ConfigurationError where there is no home to have one in.
    """
    try:
        if named := os.environ.get("MINIRERANKER_BUILD"):
            return Path(named).expanduser()
        above = Path(os.environ.get("XDG_CACHE_HOME", ""))
        # The XDG base directory specification has relative paths ignored.
        above = above if above.is_absolute() else Path.home() / ".cache"
    except RuntimeError as error:
        raise ConfigurationError(
            "there is no home folder to keep built kernels in; name one in MINIRERANKER_BUILD"
        ) from error
    return above / "minireranker" / "build"


def cubin_of(variant: Variant, compiler: Compiler, source: Source | None = None) -> bytes:
    """The variant's machine code, built if it is not there yet; ``source``: the kernel's own.

    Raises ConfigurationError where it cannot be built, with the compiler's own words, or kept.
    """
    source = kernel_source() if source is None else source
    path = build_folder() / f"{variant.name}-{_key(variant, compiler, source)}.cubin"
    found = _read(path)
    if found is not None:
        return found
    try:
        with _locked(path.with_suffix(".lock")):
            # Whoever had the lock before may have built it.
            found = _read(path)
            return _build(path, variant, compiler, source) if found is None else found
    except OSError as error:
        raise ConfigurationError(
            f"{path.parent} cannot hold built kernels ({error.strerror}); name another folder in "
            "MINIRERANKER_BUILD"
        ) from error


def _build(path: Path, variant: Variant, compiler: Compiler, source: Source) -> bytes:
    started = time.monotonic()
    cubin = compiler.compile(source, variant.macros, variant.architecture)
    _log.info("built %s in %.1f s", path.name, time.monotonic() - started)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-", delete=False) as out:
        try:
            out.write(cubin + hashlib.sha256(cubin).digest())
            os.fchmod(out.fileno(), 0o644)  # a folder may be filled by one user for others
            out.close()
            os.replace(out.name, path)
        except BaseException:
            os.unlink(out.name)
            raise
    return cubin


def _key(variant: Variant, compiler: Compiler, source: Source) -> str:
    digest = hashlib.sha256()
    texts = compiler.version, variant.architecture, *variant.macros, source.name
    for part in (*(text.encode() for text in texts), *_contents(source)):
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()[:24]


def _contents(source: Source) -> Iterator[bytes]:
    for name in sorted(source.files):
        yield name.encode()
        yield source.files[name]


def _read(path: Path) -> bytes | None:
    """None if it is missing or damaged."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    cubin, digest = content[:-_DIGEST], content[-_DIGEST:]
    if hashlib.sha256(cubin).digest() == digest:
        return cubin
    _log.warning("%s is damaged and is built again", path)
    return None


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Alone among all processes and threads; the file stays, the lock ends with its holder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
