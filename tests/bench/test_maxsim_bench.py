"""The benchmark of MaxSim: what it measures, and that it measures nothing that is wrong."""

from __future__ import annotations

import sys

import pytest
import torch

from minireranker.bench.maxsim import TOLERANCE, MaxsimBench, extra_memory, run
from minireranker.errors import ConfigurationError

SMALL = MaxsimBench(30, 3, 40, 16, 2, 5, ("float32", "bfloat16", "int8"), 2)


def test_every_dtype_is_timed_beside_its_own_products() -> None:
    result = run(SMALL)
    assert tuple(result["dtypes"]) == SMALL.dtypes
    sizes = []
    for dtype, row in result["dtypes"].items():
        assert row["error_of_largest_score"] <= TOLERANCE[dtype]
        assert {len(times) for times in row["seconds"].values()} == {2}
        rates = row["flop_per_second"]
        flop = 2 * 16 * 10 * row["vectors"]
        assert rates["maxsim"] == pytest.approx(flop / min(row["seconds"]["maxsim"]))
        same = max(rates["rows x tokens"], rates["tokens x rows"])
        assert row["share_of_same_shape"] == pytest.approx(rates["maxsim"] / same)
        sizes.append(row["bytes"] // row["vectors"])
    assert sizes == [64, 32, 16]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"tokens": 0}, "tokens is 0"),
        ({"shortest": 9, "longest": 8}, "9 to 8"),
        ({"dtypes": ("float64",)}, "float64: use some of float32"),
        ({"dtypes": ()}, "none: use some"),
    ],
)
def test_what_cannot_be_measured(wrong: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        MaxsimBench(**wrong)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems do not tell")
def test_memory_that_is_gone_again_is_counted() -> None:
    found = extra_memory(lambda: torch.ones(2**26))
    assert found == pytest.approx(2**28, rel=0.1)
