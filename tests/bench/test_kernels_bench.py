"""The benchmark of band attention: what it counts, and that it times nothing that is wrong."""

from __future__ import annotations

import dataclasses
import functools
import json
from typing import Any

import pytest
import torch
from torch import Tensor

from minireranker.bench.kernels import KernelsBench, check_outputs, run
from minireranker.bench.kernels_calls import Heads, Rows, Shape
from minireranker.bench.kernels_clock import Clock
from minireranker.bench.kernels_gate import Gate
from minireranker.errors import ConfigurationError, MinirerankerError

CPU = torch.device("cpu")
HEADS = Heads(4, 2, 16)
SHAPE = Shape(documents=5, prefix=20, queries=3, suffix=7, tokens=4, header=6)
SMALL = KernelsBench(
    prefixes=(9, 30),
    queries=(2,),
    documents=5,
    suffix=7,
    header=6,
    heads=HEADS,
    dtype="float32",
    backends=("reference", "sdpa", "packed", "flash"),
    device="cpu",
    repeats=2,
)


def drawn(numbers: str = "exact", dtype: torch.dtype = torch.bfloat16, **sizes: int) -> Rows:
    return Rows.drawn(dataclasses.replace(SHAPE, **sizes), HEADS, dtype, numbers, CPU)


def test_every_backend_that_runs_is_timed_beside_its_error() -> None:
    result = run(SMALL)
    assert json.loads(json.dumps(result))["workload"]["prefixes"] == [9, 30]
    assert [call["shape"]["tokens"] for call in result["calls"]] == [7, 1, 7, 1]
    assert [call["shape"]["prefix"] for call in result["calls"]] == [9, 9, 30, 30]
    assert list(result["unavailable"]) == ["flash"]
    for call in result["calls"]:
        rates, floors = result["rates"], call["floor_seconds"]
        assert floors["memory"] == call["bytes"] / rates["copy_bytes_per_second"]
        assert floors["arithmetic"] == call["flop"] / rates["gemm_flop_per_second"]
        assert list(call["backends"]) == ["reference", "sdpa", "packed"]
        assert call["refused"] == call["wrong"] == {}
        for row in call["backends"].values():
            assert len(row["seconds"]) == 2
            assert row["error"] <= call["allowed_error"] < 1e-5
            seconds = row["median_seconds"]
            assert min(row["seconds"]) <= seconds <= max(row["seconds"])
            assert row["share_of_floor"] == pytest.approx(max(floors.values()) / seconds)
            assert row["flop_per_second"] == pytest.approx(call["flop"] / seconds)
            assert row["kv_bytes_per_second"] == pytest.approx(call["kv_bytes"] / seconds)
    check_outputs(result)


@pytest.mark.parametrize(("queries", "header"), [(1, 0), (3, 6)])
def test_what_has_to_be_multiplied_and_read(queries: int, header: int) -> None:
    rows = drawn(queries=queries, header=header)
    lengths = [len(prefix.k) for prefix in rows.prefixes[::queries]]
    assert len(lengths) == 5
    assert {id(prefix) for prefix in rows.prefixes} == {id(p) for p in rows.prefixes[::queries]}
    assert all(16 <= length <= 24 for length in lengths)
    assert len(set(lengths)) > 1
    seen = sum(header + length + 4 + at for length in lengths for at in range(4)) * queries
    assert rows.flop == 2 * 2 * seen * HEADS.queries * HEADS.dim
    keys = sum(lengths) + header + 5 * queries * 7
    assert rows.kv_bytes == 2 * keys * HEADS.keys * HEADS.dim * 2
    assert rows.nbytes == rows.kv_bytes + 2 * 5 * queries * 4 * HEADS.queries * HEADS.dim * 2


@pytest.mark.parametrize(("numbers", "off"), [("int8", 0.006), ("float8_e4m3fn", 0.04)])
def test_quantised_documents(numbers: str, off: float) -> None:
    exact, rows = drawn(dtype=torch.float32), drawn(numbers, torch.float32)
    tokens = sum(len(prefix.k) for prefix in rows.prefixes[:: SHAPE.queries])
    documents = len(rows.prefixes) // SHAPE.queries
    by_channel = documents * HEADS.dim + tokens  # one a channel of K, one a token of V
    scales = HEADS.keys * (by_channel if numbers == "int8" else 2 * documents)
    assert exact.kv_bytes - rows.kv_bytes == 2 * tokens * HEADS.keys * 3 * HEADS.dim - 4 * scales
    for prefix, kept in zip(exact.prefixes, rows.prefixes, strict=True):
        for values, codes, scale in zip(prefix[:2], kept[:2], kept[2:], strict=True):
            assert codes.dtype is getattr(torch, numbers)
            assert scale is not None
            error = (codes.float() * scale - values).abs().max()
            assert 0 < error <= off * values.abs().max()


def test_every_other_row_alone() -> None:
    rows = drawn(dtype=torch.float64)
    assert torch.equal(rows.every(2).attend("reference"), rows.attend("reference")[::2])
    quantised = drawn("int8", torch.float32)
    wide = quantised.wide().attend("reference")
    assert wide.dtype is torch.float64
    assert torch.allclose(wide.float(), quantised.attend("reference"), rtol=0, atol=1e-6)


class Spoilt(Rows):
    """sdpa is wrong in one number of one row, packed nowhere finite in another, flash refuses."""

    def attend(self, backend: str) -> Tensor:
        out = super().attend("reference" if backend == "flash" else backend)
        if backend == "sdpa":
            out[6, 0, 0, 0] += 1
        if backend == "packed":
            out[1, 0, 0, 0] = float("nan")
        if backend == "flash":
            raise ConfigurationError("not on Sundays")
        return out


def test_what_is_wrong_is_not_timed() -> None:
    sound = drawn(documents=60, queries=1)
    parts = {field.name: getattr(sound, field.name) for field in dataclasses.fields(sound)}
    names = ["reference", "sdpa", "packed", "flash"]
    gate = Gate.of(Spoilt(**parts), names)
    assert list(gate.errors) == ["reference"]
    assert gate.refused == {"flash": "not on Sundays"}
    assert list(gate.wrong) == ["sdpa", "packed"]
    assert gate.wrong["sdpa"].startswith("off by 1.")
    assert 0 < gate.errors["reference"] < gate.allowed < 0.1
    with pytest.raises(MinirerankerError, match=r"sdpa: off by 1\..*; packed: off by .* bug"):
        check_outputs({"calls": [{"wrong": {}}, {"wrong": gate.wrong}]})
    assert list(Gate.of(sound, names[:3]).errors) == names[:3]


def test_work_is_done_in_turns_and_the_first_round_does_not_count() -> None:
    done: list[str] = []
    work = {name: functools.partial(done.append, name) for name in "ab"}
    found = Clock(CPU).rounds(work, 3)
    assert "".join(done) == "abababab"
    assert {name: len(spells) for name, spells in found.items()} == {"a": 3, "b": 3}
    assert all(spell.device == spell.host > 0 for spell in found["a"])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"prefixes": ()}, r"prefixes is \(\); give 1 or more"),
        ({"prefixes": (64, 0)}, r"prefixes is \(64, 0\)"),
        ({"queries": (0,)}, "queries is"),
        ({"repeats": 0}, "repeats is 0"),
        ({"suffix": 0}, "suffix is 0"),
        ({"header": -1}, "header is -1"),
        ({"heads": Heads(4, 0, 8)}, "heads.keys is 0"),
        ({"heads": Heads(5, 2, 8)}, "5 query heads are not a multiple of 2"),
        ({"numbers": "int4"}, "'int4': use one of exact, int8, float8_e4m3fn"),
        ({"backends": ("fused", "sdpa")}, "backend fused: use some of reference, sdpa"),
    ],
)
def test_what_cannot_be_measured(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        dataclasses.replace(SMALL, **wrong)


def test_what_this_device_does_not_do() -> None:
    with pytest.raises(ConfigurationError, match=r"nothing to time: .*'flash' runs on CUDA"):
        run(dataclasses.replace(SMALL, backends=("flash",)))
    with pytest.raises(ConfigurationError, match="cold is for CUDA devices, not cpu"):
        run(dataclasses.replace(SMALL, cold=True))
    with pytest.raises(ConfigurationError, match="dtype 'int8'"):
        run(dataclasses.replace(SMALL, dtype="int8"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_the_host_does_not_count() -> None:
    result = run(dataclasses.replace(SMALL, device="cuda", cold=True))
    for call in result["calls"]:
        assert {"sdpa", "packed"} <= set(call["backends"])
        for row in call["backends"].values():
            assert 0 < row["median_seconds"] < 0.02
            assert row["median_host_seconds"] > 0
