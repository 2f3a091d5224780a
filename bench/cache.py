"""Entries of one query's candidates, cold from a disk and warm from memory.

Cold: the page cache is told to forget the files (``posix_fadvise``) before each timing, then all
entries are taken through the cache, every byte checksummed; beside it, in the same run and in
turns, the same files are read one after the other into one buffer. Warm: taken from memory, and
decoded layer by layer as scoring does. No model is loaded: entries are random K and V.
"""

from __future__ import annotations

import dataclasses
import gc
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minireranker.errors import ConfigurationError

from .comparison import Say
from .machine import describe_machine, median_seconds

if TYPE_CHECKING:
    from minireranker import Cache
    from minireranker.cache import PrefixEntry

__all__ = ["CacheBench", "run"]

_BAND = {"2b": 8, "4b": 13, "8b": 13}
"""Layers of the published mini profiles' bands."""


@dataclass(frozen=True)
class CacheBench:
    """What to measure."""

    folder: Path
    """On the disk to be measured; a folder of its own is made in it and removed."""
    size: str = "2b"
    """Geometry of the entries: 2b, 4b or 8b."""
    codec: str = "int8"
    tokens: int = 150
    entries: int = 100
    repeats: int = 9
    """Timings of each, in turns."""


def run(bench: CacheBench, say: Say = lambda line: None) -> dict[str, Any]:
    """Measure; returns the result as JSON-able data. Raises ConfigurationError, CacheError."""
    if bench.size not in _BAND:
        raise ConfigurationError(f"size {bench.size!r}: allowed is one of {', '.join(_BAND)}")
    if not hasattr(os, "posix_fadvise"):
        raise ConfigurationError("cold reads need posix_fadvise; run this on Linux")
    with tempfile.TemporaryDirectory(prefix="minireranker-cache-", dir=bench.folder) as folder:
        say(f"writing {bench.entries} entries of {bench.tokens} tokens, {bench.codec}")
        keys = _write(bench, Path(folder))
        files = sorted(Path(folder).rglob("*.safetensors"))
        size = sum(file.stat().st_size for file in files)
        say(f"reading {size / 2**20:.0f} MiB, {bench.repeats} times each way")
        raw, cold = _cold(bench, Path(folder), files, keys)
        warm = _warm(Path(folder), bench, keys)
    return {
        "machine": describe_machine(),
        "workload": dataclasses.asdict(bench) | {"folder": None},
        "bytes": size,
        "raw_seconds": raw,
        "cold_seconds": cold,
        "cold_over_raw": statistics.median(cold) / statistics.median(raw),
        "warm_decode_seconds": warm,
    }


def _write(bench: CacheBench, folder: Path) -> list[str]:
    """The keys of random entries, written and on the disk."""
    import torch

    from minireranker.cache import Namespace, PrefixEntry

    random = torch.Generator().manual_seed(0)
    shape = _BAND[bench.size], bench.tokens, 8, 128
    space = Namespace({"bench": bench.size})
    keys = [space.key({"entry": number}) for number in range(bench.entries)]
    with _opened(folder, bench) as cache:
        for key in keys:
            k, v = (torch.randn(shape, generator=random).bfloat16() for _ in "kv")
            cache.put(key, PrefixEntry.encoded(bench.codec, k, v, span=40, tokens=bench.tokens))
    return keys


@contextmanager
def _opened(folder: Path, bench: CacheBench) -> Iterator[Cache]:
    from minireranker import Cache

    with Cache(folder, codec=bench.codec, disk_bytes=2**40) as cache:
        yield cache


def _cold(
    bench: CacheBench, folder: Path, files: Sequence[Path], keys: Sequence[str]
) -> tuple[list[float], list[float]]:
    """Seconds of raw reads and of reads through the cache, in turns."""
    raw, cold = [], []
    for _ in range(bench.repeats):
        _forget(files)
        raw.append(_seconds(lambda: _read_raw(files)))
        cold.append(_take_cold(bench, folder, files, keys))
    return raw, cold


def _take_cold(
    bench: CacheBench, folder: Path, files: Sequence[Path], keys: Sequence[str]
) -> float:
    """Seconds; a function of its own, so that no map of the files outlives it."""
    with _opened(folder, bench) as cache:
        _forget(files)
        return _seconds(lambda: _take(cache, keys))


def _forget(files: Sequence[Path]) -> None:
    """Drop the files' pages; what is mapped would stay, so maps have to go first."""
    gc.collect()
    os.sync()
    for file in files:
        handle = os.open(file, os.O_RDONLY)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)


def _read_raw(files: Sequence[Path]) -> None:
    buffer = bytearray(max(file.stat().st_size for file in files))
    for file in files:
        with file.open("rb", buffering=0) as handle:
            while handle.readinto(buffer):
                pass


def _take(cache: Cache, keys: Sequence[str]) -> list[PrefixEntry]:
    """All entries. Raises ConfigurationError if one is missing: then nothing was measured."""
    from minireranker.cache import PrefixEntry

    with cache.prefetch(keys, PrefixEntry) as fetched:
        found = [entry for key in keys if (entry := fetched.take(key)) is not None]
    if len(found) < len(keys):
        raise ConfigurationError(f"{len(keys) - len(found)} entries were not found again")
    return found


def _warm(folder: Path, bench: CacheBench, keys: Sequence[str]) -> float:
    """Median seconds of taking all from memory and decoding every layer, as the engine does."""
    import torch

    with _opened(folder, bench) as cache, torch.inference_mode():

        def decode() -> None:
            for entry in _take(cache, keys):
                for at in range(_BAND[bench.size]):
                    entry.layer(at)

        return median_seconds(decode, bench.repeats)


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
