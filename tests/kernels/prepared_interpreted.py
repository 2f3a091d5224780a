"""Prepared launches in Triton's interpreter: run with TRITON_INTERPRET=1, in a process of its own.

Prints a line for each way of keeping documents once all of its layers have the bits that the
backend gives them one by one.
"""

from __future__ import annotations

import dataclasses
import runpy
from pathlib import Path
from typing import Any

import torch

from minireranker.kernels.band_attention import Extent
from minireranker.kernels.band_attention.launches import Numbers
from minireranker.kernels.band_attention.prepared import Prepared, schedule_of
from minireranker.kernels.band_attention.schedule import LayerRows, Stack

_CASES = runpy.run_path(str(Path(__file__).with_name("conftest.py")))
Shape, case_of = _CASES["Shape"], _CASES["_case"]
CPU = torch.device("cpu")

KINDS: list[tuple[torch.dtype, tuple[torch.dtype, str] | None]] = [
    (torch.bfloat16, None),
    (torch.float32, (torch.int8, "channel")),
    (torch.float16, (torch.float8_e4m3fn, "head")),
]
ROWS = [(15, 15, 9), (17, 17, 20), (2, 2, 20), (5, 5, None)]
OTHERS = [(13, 13, 9), (20, 20, 20), (1, 1, 20), (5, 5, None)]
"""As many tiles and blocks of other lengths: the same signature."""


def cases_of(rows: list[Any], dtype: torch.dtype, kept: tuple[torch.dtype, str] | None) -> Any:
    """The same rows in three layers; the second and third row share their document."""
    found = []
    for seed in range(3):
        case = case_of(Shape(rows, 7, 4, 2, 32, padding=48 - sum(row[0] for row in rows)), seed)
        case = case.to(dtype)
        first, second, *_ = case.prefixes
        case = dataclasses.replace(case, prefixes=[first, second, second, None])
        found.append(case if kept is None else case.quantised(*kept))
    return found


def documents_of(cases: list[Any]) -> list[Stack | None]:
    """Each row's, over the layers."""
    made: dict[int, Stack | None] = {}
    for row, extent in enumerate(cases[0].prefixes):
        if id(extent) not in made:
            layers = [case.prefixes[row] for case in cases]
            made[id(extent)] = None if extent is None else stacked(layers)
    return [made[id(extent)] for extent in cases[0].prefixes]


def stacked(layers: list[Extent]) -> Stack:
    parts = [None if some[0] is None else torch.stack(some) for some in zip(*layers, strict=True)]
    return Stack(*parts)


def schedule(cases: list[Any]) -> Any:
    """Layers: two with documents, one without, and one with the last token of each row."""
    first = cases[0]
    whole = LayerRows(tuple(first.cu_q), len(first.q), 0)
    layers = [
        whole,
        whole._replace(at=2),
        whole._replace(at=None),
        LayerRows((0, 1, 2, 3, 4), 16, 1),
    ]
    return schedule_of(
        layers,
        first.cu_k,
        documents_of(cases),
        header=7,
        kv_heads=2,
        numbers=Numbers(first.q.dtype, 32, 2),
        device=CPU,
    )


def assert_same_bits(prepared: Prepared, cases: list[Any]) -> None:
    last = dataclasses.replace(cases[1], q=cases[1].q[:16], cu_q=[0, 1, 2, 3, 4])
    bare = dataclasses.replace(cases[0], prefixes=[None] * 4)
    for layer, case in enumerate((cases[0], cases[2], bare, last)):
        out = torch.empty_like(case.q)
        prepared.attend(layer, case.q, case.k, case.v, case.header, out)
        assert torch.equal(out, case.attend("triton")), layer


if __name__ == "__main__":
    # From here on, torch.empty gives NaN.
    torch.use_deterministic_algorithms(True)
    for dtype, kept in KINDS:
        cases, others = cases_of(ROWS, dtype, kept), cases_of(OTHERS, dtype, kept)
        made, other = schedule(cases), schedule(others)
        table = torch.from_numpy(made.array)
        prepared = Prepared(made, table)
        assert_same_bits(prepared, cases)
        prepared.adopt(other)
        table.copy_(torch.from_numpy(other.array))
        assert_same_bits(prepared, others)
        print(dtype, kept)
