"""What MetaEmbed's dial costs: scores and index bytes of each group, beside the paper's.

Random unit vectors are written once, 64 a candidate, and mapped as an index maps them. A group is
timed twice: as an index made for it, whose vectors stand without gaps, and as a prefix of the 64,
which is what turning the dial of an index made for (16, 64) costs.
"""

from __future__ import annotations

import dataclasses
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minireranker.errors import ConfigurationError

from .comparison import Say
from .machine import describe_machine, peak_memory

if TYPE_CHECKING:
    import torch

    Maxsim = Callable[["torch.Tensor", "torch.Tensor"], "torch.Tensor"]

__all__ = ["PAPER", "MetaEmbedBench", "index_bytes", "run"]

PAPER: dict[str, dict[str, float | None]] = {
    "1,1": {"milliseconds": 1.67, "gib": 0.68, "mmeb": 71.3},
    "2,4": {"milliseconds": None, "gib": None, "mmeb": None},
    "4,8": {"milliseconds": None, "gib": None, "mmeb": None},
    "8,16": {"milliseconds": 1.92, "gib": 10.68, "mmeb": 74.3},
    "16,64": {"milliseconds": 6.25, "gib": 42.72, "mmeb": 76.6},
}
"""arXiv 2509.18095: the 7B, 3584 numbers in bfloat16, 100 000 candidates, one A100."""

_ITEM_BYTES = {"int8": 1, "bfloat16": 2, "float32": 4}
_SCALE_BYTES = 4
_PIECE_BYTES = 64 * 2**20
_SPARE_BYTES = 256 * 2**20
_MOST = 64
_SHARE_READ = 0.01
"""Of a group's bytes: more than this fetched from the disk is no longer the page cache."""


@dataclass(frozen=True)
class MetaEmbedBench:
    """What to measure."""

    folder: Path
    """On the disk the index would be on; a folder of its own is made in it and removed."""
    candidates: int = 100_000
    dim: int = 2_048
    """2048: Qwen3-VL 2B. 3584: the paper's 7B."""
    dtype: str = "int8"
    queries: int = 1
    repeats: int = 5


@dataclass(frozen=True, eq=False)
class _Pool:
    """[candidates * 64, dim] mapped, and a scale a row if it is int8."""

    vectors: torch.Tensor
    scales: torch.Tensor | None


def run(
    bench: MetaEmbedBench, say: Say = lambda line: None, progress: bool | None = None
) -> dict[str, Any]:
    """Measure; returns the result as JSON-able data.

    Raises ConfigurationError for a dtype or a count that cannot be, and too little free disk.
    """
    _check(bench)
    with tempfile.TemporaryDirectory(prefix="minireranker-metaembed-", dir=bench.folder) as folder:
        size = bench.candidates * _MOST * bench.dim * _ITEM_BYTES[bench.dtype]
        say(f"writing {bench.candidates} x {_MOST} vectors, {size / 2**30:.2f} GiB")
        pool = _write(bench, Path(folder) / "vectors", progress)
        groups = {}
        for name in PAPER:
            say(f"scoring ({name}), {bench.repeats} times each way")
            groups[name] = _group(bench, pool, *map(int, name.split(",")))
        del pool
    return {
        "machine": describe_machine(),
        "workload": dataclasses.asdict(bench) | {"folder": None},
        "groups": groups,
        "paper": PAPER,
        "peak_memory_bytes": peak_memory(),
    }


def index_bytes(candidates: int, vectors: int, dim: int, dtype: str) -> int:
    """Bytes of the token vectors of an index, and of their scales if it is int8."""
    scale = _SCALE_BYTES if dtype == "int8" else 0
    return candidates * vectors * (dim * _ITEM_BYTES[dtype] + scale)


def _check(bench: MetaEmbedBench) -> None:
    if bench.dtype not in _ITEM_BYTES:
        raise ConfigurationError(f"dtype {bench.dtype!r}: allowed is {', '.join(_ITEM_BYTES)}")
    for name in ("candidates", "dim", "queries", "repeats"):
        if getattr(bench, name) < 1:
            raise ConfigurationError(f"{name} = {getattr(bench, name)}: allowed is 1 or more")
    if not bench.folder.is_dir():
        raise ConfigurationError(f"{bench.folder} is no folder; name one on the disk to measure")
    needed = index_bytes(bench.candidates, _MOST, bench.dim, bench.dtype) + _SPARE_BYTES
    free = shutil.disk_usage(bench.folder).free
    if free < needed:
        raise ConfigurationError(
            f"{bench.folder} has {free / 2**30:.1f} GiB free, the vectors need "
            f"{needed / 2**30:.1f}: take fewer candidates, a smaller dtype or another folder"
        )


def _write(bench: MetaEmbedBench, path: Path, progress: bool | None) -> _Pool:
    """Random unit vectors in a file, piece by piece, and the file mapped."""
    import torch

    from minireranker.engine.progress import Progress
    from minireranker.retrieval.vector_index.quantise import quantise

    rows, dtype = bench.candidates * _MOST, getattr(torch, bench.dtype)
    step = max(1, _PIECE_BYTES // (4 * bench.dim))
    random, scales = torch.Generator().manual_seed(0), []
    with path.open("wb") as file, Progress("writing vectors", rows, progress) as bar:
        for first in range(0, rows, step):
            piece = torch.randn(min(step, rows - first), bench.dim, generator=random)
            piece /= piece.norm(dim=1, keepdim=True)
            if dtype is torch.int8:
                piece, scale = quantise(piece)
                scales.append(scale)
            file.write(piece.to(dtype).view(torch.uint8).numpy().data)
            bar.advance(len(piece))
    mapped = torch.from_file(str(path), shared=True, size=rows * bench.dim, dtype=dtype)
    return _Pool(mapped.view(rows, bench.dim), torch.cat(scales) if scales else None)


def _group(bench: MetaEmbedBench, pool: _Pool, r_q: int, r_c: int) -> dict[str, Any]:
    """One group as an index of its own, and as a prefix of what (16, 64) stores."""
    nbytes = index_bytes(bench.candidates, r_c, bench.dim, bench.dtype)
    own = _timed(bench, pool, r_q, r_c, stride=r_c)
    dialled = own if r_c == _MOST else _timed(bench, pool, r_q, r_c, stride=_MOST)
    return {
        "vectors_a_query": r_q,
        "vectors_a_candidate": r_c,
        "index_bytes": nbytes,
        "paper_index_bytes": index_bytes(100_000, r_c, 3_584, "bfloat16"),
        "own_index": own | {"bytes_per_second": nbytes / own["seconds"]},
        "prefix_of_64": dialled,
    }


def _timed(bench: MetaEmbedBench, pool: _Pool, r_q: int, r_c: int, stride: int) -> dict[str, Any]:
    """First and median seconds of scoring all candidates, and whether the disk was read."""
    import torch

    from minireranker.kernels.maxsim import maxsim

    random = torch.Generator().manual_seed(1)
    queries = torch.randn(bench.queries * r_q, bench.dim, generator=random)
    queries /= queries.norm(dim=1, keepdim=True)
    ends = [r_q * at for at in range(bench.queries + 1)]
    starts = torch.arange(bench.candidates) * stride
    lengths = torch.full_like(starts, r_c)

    def score() -> float:
        began = time.perf_counter()
        maxsim(
            queries,
            pool.vectors,
            cu_seqlens_q=ends,
            starts=starts,
            lengths=lengths,
            document_scales=pool.scales,
        )
        return time.perf_counter() - began

    first = score()
    before = _bytes_fetched()
    seconds = [score() for _ in range(bench.repeats)]
    after = _bytes_fetched()
    touched = index_bytes(bench.candidates, r_c, bench.dim, bench.dtype)
    fetched = None if before is None or after is None else (after - before) // bench.repeats
    return {
        "first_seconds": first,
        "seconds": statistics.median(seconds),
        "all_seconds": seconds,
        "fetched_bytes_a_pass": fetched,
        "from_disk": None if fetched is None else fetched > _SHARE_READ * touched,
    }


def _bytes_fetched() -> int | None:
    """Bytes this process has had read from a disk, mapped files included; None where unknown."""
    try:
        lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
        return int(dict(line.split(": ") for line in lines)["read_bytes"])
    except (OSError, KeyError, ValueError):
        return None
