"""What is said of the machine is of this process and this machine."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from minireranker.bench.machine import describe_machine, gemm_rate, median_seconds, peak_memory


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems do not tell")
def test_the_peak_is_this_process_own_and_stays() -> None:
    """In a small process started by a large one."""
    code = (
        "from minireranker.bench.machine import peak_memory\n"
        "print(peak_memory())\nblock = b'x' * 2**26\nprint(peak_memory())\n"
        "del block\nprint(peak_memory())"
    )
    command = [sys.executable, "-P", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    before, held, after = map(int, done.stdout.split())
    assert 2**22 < before < 2**26 < peak_memory()
    # The kernel counts pages in batches, a processor each.
    assert held - before == pytest.approx(2**26, abs=2**22)
    assert after == pytest.approx(held, abs=2**22)


def test_the_first_call_is_not_counted_and_the_median_is_taken() -> None:
    calls: list[int] = []
    assert median_seconds(lambda: calls.append(1), 3) < 1
    assert len(calls) == 4


def test_the_rate_is_that_of_products() -> None:
    assert 1e7 < gemm_rate(256, 64, 128, torch.float32) < 1e15


def test_a_result_says_where_it_comes_from() -> None:
    machine = describe_machine()
    assert machine["torch"] == torch.__version__
    assert machine["threads"] == torch.get_num_threads()
    assert machine["cpu"]
