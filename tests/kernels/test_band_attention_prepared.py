"""Schedules of all layers: buckets, one array, and the launches' bits in Triton's interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minireranker.errors import ConfigurationError
from minireranker.kernels.band_attention.call import Extent, Layout
from minireranker.kernels.band_attention.launches import Numbers
from minireranker.kernels.band_attention.schedule import LayerRows, Place, Schedule, Stack, bucket
from minireranker.kernels.band_attention.tiles import FIELDS, LAYOUT, Cut, Tiles

NUMBERS = Numbers(torch.float32, 16, 2)
CU = (0, 3, 5, 9)


def stack_of(tokens: int, layers: int = 3) -> Stack:
    """K and V between other numbers, quantised, as an entry keeps them."""
    k, v = torch.zeros(2, layers, tokens, 2, 16, dtype=torch.int8)
    return Stack(k, v, torch.ones(layers, 1, 2, 16), torch.ones(layers, tokens, 2, 1))


def scheduled(layers: list[LayerRows], documents: list[Stack | None], **given: Any) -> Schedule:
    sizes: dict[str, Any] = {"header": 4, "numbers": NUMBERS, "cut": lambda kind: Cut(16, 16)}
    return Schedule.of(layers, CU, documents, **{**sizes, **given})


def tables(schedule: Schedule, place: Place) -> np.ndarray[Any, Any]:
    """A layer's tiles without the empty ones."""
    rows = schedule.array.view(np.int64)
    tiles = [
        rows[at * len(FIELDS) : (at + 1) * len(FIELDS)]
        for part in place.parts
        for at in range(part.first, part.stop)
    ]
    return np.array([tile for tile in tiles if tile.any()]).view(LAYOUT)[:, 0]


def test_each_layer_has_the_tiles_it_would_have_alone() -> None:
    shared = stack_of(20)
    documents = [shared, shared, stack_of(7)]
    layers = [
        LayerRows(CU, 16, 0),
        LayerRows(CU, 16, 2),
        LayerRows(CU, 16, None),
        LayerRows((0, 1, 2, 3), 16, 1),
    ]
    schedule = scheduled(layers, documents)
    for rows, place in zip(layers, schedule.places, strict=True):
        extents: dict[int, Extent | None] = {
            id(stack): None if rows.at is None else stack.layer(rows.at) for stack in documents
        }
        prefixes = [extents[id(stack)] for stack in documents]
        layout = Layout(rows.cu_q, CU, prefixes, rows.total_q, 4, 2, torch.float32)
        alone = Tiles.of(layout, lambda kind: Cut(16, 16))
        assert [part.kind for part in place.parts] == [part.kind for part in alone.parts]
        assert tables(schedule, place).tolist() == alone.table.tolist()
        own = schedule.array[place.tokens_at :]
        expected = [*alone.first.tolist(), *alone.last.tolist(), *alone.blocks.tolist()]
        assert own[: len(expected)].tolist() == expected


def test_layers_alike_share_what_is_not_an_address() -> None:
    layers = [LayerRows(CU, 9, at) for at in range(3)]
    places = scheduled(layers, [stack_of(5)] * 3).places
    assert len({place.tokens_at for place in places}) == 1
    assert len({place.parts for place in places}) == 3


def test_a_signature_says_nothing_of_lengths_and_addresses() -> None:
    layers = [LayerRows(CU, 16, 0), LayerRows((0, 1, 2, 3), 16, 1)]
    first = scheduled(layers, [stack_of(20), stack_of(3), stack_of(7)])
    other = scheduled(layers, [stack_of(31), stack_of(90), stack_of(1)])
    assert first.signature == other.signature
    assert (first.array != other.array).any()
    more = [LayerRows(CU, 32, 0), layers[1]]
    plain = Stack(*torch.zeros(2, 3, 4, 2, 16))
    for changed in (
        scheduled(more, list(first.documents)),
        scheduled(layers, [stack_of(20), stack_of(3), plain]),
        scheduled(layers, list(first.documents), cut=lambda kind: Cut(2, 1)),
    ):
        assert changed.signature != first.signature


def test_a_stride_between_layers_counts_for_the_alignment() -> None:
    room = torch.zeros(2, 3, 5 * 2 * 16 + 8, dtype=torch.int8)
    k, v = room.as_strided((2, 3, 5, 2, 16), (room.stride(0), room.stride(1), 32, 16, 1))
    crooked = Stack(k, v, torch.ones(3, 1, 2, 16), torch.ones(3, 5, 2, 1))
    layers = [LayerRows(CU, 9, 0)]
    assert scheduled(layers, [stack_of(5)] * 3).aligned
    assert not scheduled(layers, [crooked] * 3).aligned


@given(count=st.integers(0, 10**6))
def test_buckets_hold_what_they_are_for_and_little_more(count: int) -> None:
    room = bucket(count)
    assert count <= room < max(count + 8, 1.25 * count + 1)
    assert bucket(room) == room
    assert room <= bucket(count + 1)


def test_there_are_few_buckets() -> None:
    assert len({bucket(count) for count in range(1, 1025)}) == 8 + 4 * 4


def test_prepared_launches_have_the_bits_of_single_ones() -> None:
    pytest.importorskip("triton", reason="triton is not installed")
    script = Path(__file__).with_name("prepared_interpreted.py")
    done = subprocess.run(
        [sys.executable, "-P", "-W", "error", str(script)],
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 3


def test_without_a_device_there_is_nothing_to_prepare() -> None:
    pytest.importorskip("triton", reason="triton is not installed")
    from minireranker.kernels.band_attention.prepared import schedule_of

    sizes: dict[str, Any] = {"header": 0, "kv_heads": 2, "device": torch.device("cpu")}
    with pytest.raises(ConfigurationError, match="not on cpu"):
        schedule_of([], [0], [], numbers=NUMBERS, **sizes)
