"""Counters of the machine, as files."""

from __future__ import annotations

from pathlib import Path

import pytest

from minireranker.bench.latency.energy import EnergyMeter, RaplCounter


def zone(root: Path, name: str, now: int, most: int = 1_000_000_000) -> Path:
    folder = root / name
    folder.mkdir(exist_ok=True)
    (folder / "energy_uj").write_text(f"{now}\n")
    (folder / "max_energy_range_uj").write_text(f"{most}\n")
    return folder


def test_packages_are_added_and_their_parts_are_not(tmp_path: Path) -> None:
    for name, now in (("intel-rapl:0", 5), ("intel-rapl:1", 7), ("intel-rapl:0:0", 1)):
        zone(tmp_path, name, now)
    counter = RaplCounter(tmp_path)
    assert counter.is_there
    for name, now in (("intel-rapl:0", 2_000_005), ("intel-rapl:1", 7), ("intel-rapl:0:0", 9)):
        zone(tmp_path, name, now)
    assert counter.joules() == 2.0


def test_a_counter_that_began_again_is_understood(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", 9_000_000, most=10_000_000)
    counter = RaplCounter(tmp_path)
    zone(tmp_path, "intel-rapl:0", 1_000_000, most=10_000_000)
    assert counter.joules() == 2.0


@pytest.mark.parametrize("there", [False, True])
def test_what_cannot_be_read_is_not_there(tmp_path: Path, there: bool) -> None:
    if there:
        (zone(tmp_path, "intel-rapl:0", 1) / "energy_uj").write_text("no number")
    counter = RaplCounter(tmp_path)
    assert not counter.is_there
    assert counter.joules() == 0.0


def test_a_meter_says_by_what_it_knows() -> None:
    with EnergyMeter() as meter:
        pass
    found = meter.reading()
    assert found["source"]
    assert found["joules"] is None or found["joules"] >= 0.0
