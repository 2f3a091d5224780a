"""The contract of MaxSim: what is refused, what is imported, what memory a call takes."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
import torch

from minireranker.bench.maxsim import extra_memory
from minireranker.errors import ConfigurationError, MissingDependencyError
from minireranker.kernels.maxsim import BACKENDS, choose_backend, maxsim

OK: dict[str, Any] = {
    "queries": torch.ones(3, 4),
    "documents": torch.ones(9, 4),
    "cu_seqlens_q": [0, 2, 3],
    "starts": torch.tensor([0, 5]),
    "lengths": torch.tensor([5, 4]),
}
BYTES = torch.ones(9, 4, dtype=torch.int8)


def test_a_call_that_is_right() -> None:
    got = maxsim(**OK)
    assert torch.equal(got, torch.tensor([[8.0, 8.0], [4.0, 4.0]]))
    assert torch.equal(maxsim(**OK, reduce="mean"), torch.full((2, 2), 4.0))


@pytest.mark.parametrize("backend", ["reference", "blocked"])
def test_what_has_no_tokens(backend: str) -> None:
    """Empty documents score -inf whatever the query; empty queries 0 for the others."""
    extents = {"starts": torch.tensor([9, 0, 3]), "lengths": torch.tensor([0, 3, 2])}
    mask = torch.tensor([1, 1, 1, 0, 0, 1, 1, 1, 1], dtype=torch.bool)
    for reduce in ("sum", "mean"):
        got = maxsim(
            **OK | extents | {"cu_seqlens_q": [0, 0, 3]},
            document_mask=mask,
            query_mask=torch.tensor([False, True, False]),
            reduce=reduce,
            backend=backend,
        )
        expected = torch.tensor([[-torch.inf, 0.0, -torch.inf], [-torch.inf, 4.0, -torch.inf]])
        assert torch.equal(got, expected)
    none = torch.zeros(0, dtype=torch.int64)
    empty = {"starts": none, "lengths": none}
    assert maxsim(**OK | empty, backend=backend).shape == (2, 0)
    assert maxsim(**OK | {"cu_seqlens_q": [0]}, backend=backend).shape == (0, 2)
    pool = {"documents": torch.ones(0, 4), "starts": none + 0, "lengths": none}
    assert maxsim(**OK | pool, backend=backend).shape == (2, 0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"queries": torch.ones(3)}, r"queries have shape \(3,\)"),
        ({"documents": torch.ones(9, 4).double()}, "float64; use one of float32, bfloat16"),
        ({"documents": torch.ones(9, 5)}, r"\(3, 4\) beside documents \(9, 5\)"),
        ({"queries": torch.ones(3, 0), "documents": torch.ones(9, 0)}, "at least 1"),
        ({"documents": BYTES}, "int8 without scales"),
        ({"document_scales": torch.ones(9)}, "float32 with scales"),
        ({"documents": BYTES, "document_scales": torch.ones(8)}, r"\(8,\).*\(9,\), one a token"),
        ({"documents": BYTES, "document_scales": torch.ones(9).half()}, "scales.*float16"),
        ({"document_mask": torch.ones(9)}, "mask of the documents: torch.float32"),
        ({"query_mask": torch.ones(2, dtype=torch.bool)}, r"mask of the queries.*\(2,\)"),
        (
            {"queries": BYTES[:3], "query_scales": torch.tensor([1.0, -2.0, 1.0])},
            "scale is -2.0",
        ),
        ({"cu_seqlens_q": []}, "starts at 0"),
        ({"cu_seqlens_q": [1, 3]}, "starts at 0"),
        ({"cu_seqlens_q": [0, 2, 1]}, r"query 1 owns rows \[2, 1\)"),
        ({"cu_seqlens_q": [0, 2, 4]}, r"query 1 owns rows \[2, 4\) of 3"),
        ({"starts": torch.tensor([0])}, r"starts \(1,\), lengths \(2,\)"),
        ({"starts": torch.tensor([0, 5]).int()}, "starts are torch.int32"),
        ({"starts": torch.tensor([-1, 5])}, "document 0 has 5 rows from -1"),
        ({"lengths": torch.tensor([5, 5])}, "document 1 has 5 rows from 5, in a pool of 9"),
        ({"lengths": torch.tensor([2**63 - 1, 4])}, "document 0 has"),
        ({"lengths": torch.tensor([5, -1])}, "document 1 has -1 rows"),
        ({"reduce": "max"}, "'max'; use one of sum, mean"),
        ({"block_bytes": 1000}, "block_bytes is 1000; give 65536"),
    ],
)
def test_arguments_that_contradict(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        maxsim(**OK | wrong)


def test_a_block_too_small_for_one_row() -> None:
    wide = torch.ones(40, 2**14)
    extents = {"starts": torch.tensor([0]), "lengths": torch.tensor([40])}
    call = {"queries": wide[:1], "documents": wide, "cu_seqlens_q": [0, 1], **extents}
    with pytest.raises(ValueError, match="too little for a row of 16384 numbers"):
        maxsim(**call, block_bytes=2**16)
    assert maxsim(**call, block_bytes=2**18).item() == 2**14


def test_backends_by_name() -> None:
    assert [choose_backend(torch.device(kind)) for kind in ("cpu", "cuda", "mps")] == [
        "blocked",
        "triton",
        "reference",
    ]
    with pytest.raises(ConfigurationError, match="'fast'; use one of reference, blocked, triton"):
        maxsim(**OK, backend="fast")
    assert set(BACKENDS) == {"reference", "blocked", "triton"}


def test_triton_asked_for_on_a_cpu_is_refused() -> None:
    """It never falls back; without the package, the error says what to install."""
    with pytest.raises((ConfigurationError, MissingDependencyError), match=r"triton.*take backend"):
        maxsim(**OK, backend="triton")


def test_importing_the_operator_imports_no_triton_and_needs_none() -> None:
    """With triton out of reach, everything but that backend works."""
    code = """
import sys
import minireranker.kernels.maxsim as operator
assert "triton" not in sys.modules
sys.modules["triton"] = None
import torch
one = torch.ones(1, dtype=torch.int64)
call = dict(cu_seqlens_q=[0, 1], starts=0 * one, lengths=one)
rows = torch.ones(1, 4)
assert operator.maxsim(rows, rows, **call).item() == 4
try:
    operator.maxsim(rows, rows, **call, backend="triton")
except ImportError as error:
    print(type(error).__name__)
"""
    done = subprocess.run(
        [sys.executable, "-P", "-W", "error", "-c", code], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "MissingDependencyError\n"), done.stderr


MEMORY = """
import tempfile, threading, numpy, torch
from pathlib import Path
from minireranker.kernels.maxsim import maxsim

def anonymous():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024

def peak(work):
    done, most = threading.Event(), [anonymous()]
    def watch():
        while not done.wait(0.0003):
            most[0] = max(most[0], anonymous())
    watcher = threading.Thread(target=watch)
    watcher.start()
    work()
    done.set()
    watcher.join()
    return most[0]

def extra(dtype, file, dim=128, count=96):
    rows = 48 * 2**20 // dim // dtype.itemsize
    width = dim * dtype.itemsize
    file.truncate(rows * width)
    pool = torch.from_numpy(numpy.memmap(file.name, numpy.uint8, "r+", shape=(rows, width)))
    long = rows // 4
    starts = torch.cat([torch.arange(long, rows, 3).flip(0), torch.zeros(1).long()])
    lengths = torch.ones_like(starts)
    lengths[-1] = long
    queries, more = torch.ones(count, dim).to(dtype), {}
    if dtype is torch.int8:
        more = dict(query_scales=torch.ones(count), document_scales=torch.ones(rows))
    def score(part, block):
        return maxsim(queries, pool.view(dtype), cu_seqlens_q=[*range(0, count, 32), count],
                      starts=starts[part], lengths=lengths[part], block_bytes=block, **more)
    score(slice(0, 9), 2**17)
    before, result = anonymous(), []
    most = peak(lambda: result.append(score(slice(None), BLOCK)))
    return most - before - result[0].numel() * 4

BLOCK = 8 * 2**20
for dtype in torch.float32, torch.bfloat16, torch.int8:
    with tempfile.NamedTemporaryFile() as file:
        print(extra(dtype, file))
with tempfile.NamedTemporaryFile() as file:
    print(extra(torch.int8, file, 1024, 1))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads Linux's /proc")
def test_memory_of_a_call_is_bounded_whatever_the_corpus() -> None:
    """Resident pages of a process that scores a mapped pool of 48 MiB in blocks of 8 MiB.

    Documents have one row, which takes most, and lie in falling order with gaps between; but one is
    a quarter of the pool. Last, a query of one token. Pages of the file itself are not counted, nor
    is what the libraries keep after a first, small call, or the allocator of what it got back.
    """
    command = [sys.executable, "-P", "-c", MEMORY]
    keep_nothing = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=keep_nothing)
    assert len(done.stdout.splitlines()) == 4
    for line in done.stdout.splitlines():
        assert int(line) <= 8 * 2**20, done.stdout


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads Linux's /proc")
def test_memory_does_not_grow_with_the_variety_of_blocks() -> None:
    """The library keeps something for every shape of a bfloat16 product: they have to be few."""
    lengths = torch.randint(1, 120, (1200,), generator=torch.Generator().manual_seed(0))
    starts = lengths.cumsum(0) - lengths
    pool = torch.ones(int(lengths.sum()), 64, dtype=torch.bfloat16)
    call = {"cu_seqlens_q": [0, 8], "starts": starts, "lengths": lengths, "block_bytes": 2**18}
    assert (extra_memory(lambda: maxsim(pool[:8], pool, **call)) or 0) < 20 * 2**20
