"""Tiles: each query meets each key it may see once, and no other; each is where the table says."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minireranker.kernels.band_attention.call import Call, Extent
from minireranker.kernels.band_attention.runs import _OWN, Kind
from minireranker.kernels.band_attention.tiles import BLOCK, FIELDS, Cut, Tiles

KEYS = 16


def tiles_of(call: Call, rows: int) -> Tiles:
    return Tiles.of(call.layout, lambda kind: Cut(rows, KEYS))


def extent_of(tokens: int, kv_heads: int = 2, dtype: torch.dtype = torch.float32) -> Extent:
    k, v = torch.zeros(2, tokens, kv_heads, 16, dtype=dtype)
    if dtype.is_floating_point and dtype.itemsize > 1:
        return Extent(k, v)
    return Extent(k, v, *torch.ones(2, tokens, kv_heads, 1))


def call_of(
    rows: list[tuple[int, int]],
    prefixes: list[Extent | None],
    header: int | None = None,
    padding: int = 0,
    group: int = 1,
) -> Call:
    """Rows are (query tokens, own tokens)."""
    cu_q, cu_k = (np.cumsum([0, *column]).tolist() for column in zip(*rows, strict=True))
    own = torch.zeros(cu_k[-1], 2, 16)
    q = torch.zeros(cu_q[-1] + padding, 2 * group, 16)
    return Call(q, own, own, cu_q, cu_k, None if header is None else extent_of(header), prefixes)


@st.composite
def calls(draw: st.DrawFn) -> Call:
    rows = draw(st.lists(st.tuples(st.integers(1, 70), st.integers(0, 9)), min_size=1, max_size=7))
    kinds = [torch.float32, torch.int8]
    pool = [None, *(extent_of(n, dtype=kinds[n % 2]) for n in draw(st.sets(st.integers(0, 30))))]
    prefixes = [draw(st.sampled_from(pool)) for _ in rows]
    header = draw(st.none() | st.integers(0, 5))
    lengths = [(queries, queries + more) for queries, more in rows]
    return call_of(lengths, prefixes, header, draw(st.integers(0, 40)), draw(st.integers(1, 4)))


@settings(deadline=None)
@given(call=calls(), tokens=st.sampled_from([1, 3, 16, 64]))
def test_each_query_meets_each_key_it_sees_once_and_no_other(call: Call, tokens: int) -> None:
    tiles = tiles_of(call, tokens * call.group)
    met: Counter[tuple[int, str, int]] = Counter()
    for tile in tiles.table:
        for token in range(tile["q_start"], tile["q_stop"]):
            met["token", "", token] += 1
            met.update((token, "header", key) for key in range(tile["header"]))
            met.update((token, "prefix", tile["k"] + key) for key in range(tile["prefix"]))
            met.update(
                (token, "own", key)
                for key in own_of(tiles, tile)
                if tiles.first[token] <= key <= tiles.last[token]
            )
    assert met == Counter(expected(call))
    assert longest(tiles) <= tokens


def own_of(tiles: Tiles, tile: Any) -> list[int]:
    blocks = tiles.blocks[tile["own"] : tile["own_stop"]].tolist()
    return [block // BLOCK + at for block in blocks for at in range(block % BLOCK)]


def longest(tiles: Tiles) -> int:
    return int(max(tile["q_stop"] - tile["q_start"] for tile in tiles.table))


@settings(deadline=None)
@given(call=calls(), tokens=st.sampled_from([1, 3, 16, 64]))
def test_blocks_start_with_their_row_whatever_the_tile_starts_with(call: Call, tokens: int) -> None:
    tiles = tiles_of(call, tokens * call.group)
    rows = list(zip(call.cu_k, call.cu_k[1:], strict=False))
    for tile in tiles.table:
        for block in tiles.blocks[tile["own"] : tile["own_stop"]].tolist():
            key, count = divmod(block, BLOCK)
            first, stop = next(row for row in rows if row[0] <= key < row[1])
            assert (key - first) % KEYS == 0
            assert 0 < count <= min(KEYS, stop - key)


def expected(call: Call) -> list[tuple[int | str, str, int]]:
    """What ``band_attention`` says, pair by pair."""
    pairs: list[tuple[int | str, str, int]] = [("token", "", at) for at in range(call.total_q)]
    for row, prefix in enumerate(call.prefixes):
        left = call.cu_q[row + 1]
        for token in range(call.cu_q[row], left):
            header = 0 if call.header is None else len(call.header.k)
            pairs += [(token, "header", key) for key in range(header)]
            if prefix is not None:
                start = prefix.k.data_ptr()
                pairs += [(token, "prefix", start + key) for key in range(len(prefix.k))]
            own = range(call.cu_k[row], call.cu_k[row + 1] - (left - 1 - token))
            pairs += [(token, "own", key) for key in own]
    return pairs


def test_an_extent_is_where_the_table_says() -> None:
    k = torch.zeros(9, 3, 2, 16, dtype=torch.int8)[2:7, 1]
    v = torch.zeros(9, 2, 5, 16, dtype=torch.int8)[1:6, :, 3]
    k_scale = torch.zeros(7, 3, 2, 1)[:5, 1]
    v_scale = torch.zeros(2, 7, 4).transpose(0, 1)[1:6, :, :1]
    extent = Extent(k, v, k_scale, v_scale)
    (tile,) = tiles_of(call_of([(3, 3)], [extent]), 16).table
    assert tile["prefix"] == 5
    for name, part in zip(("k", "v", "k_scale", "v_scale"), extent, strict=True):
        strides = [int(tile[f"{name}_token"]), int(tile[f"{name}_head"])]
        assert (int(tile[name]), strides) == (part.data_ptr(), list(part.stride()[:2]))
    assert tile["k_scale_channel"] == 0


def test_what_has_one_scale_stays_where_it_is() -> None:
    k = torch.zeros(5, 2, 16, dtype=torch.int8)
    by_channel = torch.zeros(3, 2, 2, 20)[1:2, :, 1, 2:18]
    extent = Extent(k, k, by_channel, torch.zeros(1, 2, 1))
    tiles = tiles_of(call_of([(3, 3)], [extent]), 16)
    (tile,) = tiles.table
    assert tiles.parts[0].kind == Kind(torch.int8, torch.int8, by_channel=True)
    strides = [int(tile[f"k_scale_{name}"]) for name in ("token", "head", "channel")]
    assert (int(tile["k_scale"]), strides) == (by_channel.data_ptr(), [0, 40, 1])
    assert [int(tile[f"v_scale_{name}"]) for name in ("token", "head")] == [0, 1]


def test_the_array_that_is_sent_holds_the_table_and_both_ends_of_what_a_token_sees() -> None:
    tiles = tiles_of(call_of([(3, 5), (20, 20)], [extent_of(4), None], 2, padding=2), 16)
    sent = tiles.packed()
    assert sent.dtype == np.int64
    count = len(tiles.table) * len(FIELDS)
    for row, tile in zip(sent[:count].reshape(-1, len(FIELDS)), tiles.table, strict=True):
        assert row.tolist() == [int(tile[name]) for name in FIELDS]
    own = tiles.first, tiles.last, tiles.blocks
    assert sent[count:].tolist() == [number for part in own for number in part.tolist()]


def test_rows_of_one_document_share_tiles_and_long_prefixes_come_first() -> None:
    short, long = extent_of(10), extent_of(300)
    rows, prefixes = [(5, 5)] * 12, [short] * 4 + [long] * 4 + [short] * 4
    tiles = tiles_of(call_of(rows, prefixes, group=2), 32)
    assert tiles.table["prefix"].tolist() == [300, 300, 10, 10, 10, 10]
    assert tiles.table["q_start"].tolist() == [20, 36, 0, 16, 40, 56]


@pytest.mark.parametrize(("rows", "tokens"), [([(1, 40)] * 100, 12), ([(7, 2000)] * 3, 7)])
def test_many_keys_to_few_queries_make_short_tiles(
    rows: list[tuple[int, int]], tokens: int
) -> None:
    tiles = tiles_of(call_of(rows, [extent_of(9)] * len(rows)), 64)
    assert longest(tiles) == tokens
    assert max(len(own_of(tiles, tile)) for tile in tiles.table) <= max(_OWN, rows[0][1])


def test_prefixes_of_several_dtypes_are_parts_of_the_table() -> None:
    whole, small, empty = extent_of(5), extent_of(6, dtype=torch.int8), extent_of(0)
    call = call_of([(2, 2)] * 5, [whole, small, None, whole, empty], padding=1)
    tiles = tiles_of(call, 16)
    assert [part.kind.k for part in tiles.parts] == [torch.float32, torch.int8]
    assert [(part.first, part.stop) for part in tiles.parts] == [(0, 5), (5, 6)]
    assert tiles.table["k_scale"].astype(bool).tolist() == [False] * 5 + [True]
    alone = tiles_of(call_of([(2, 2)] * 2, [small, small], padding=1), 16)
    assert [part.kind.k for part in alone.parts] == [torch.int8], "padding is of any kind"


@pytest.mark.parametrize(("start", "head_dim", "aligned"), [(0, 16, 1), (0, 24, 0), (1, 16, 0)])
def test_alignment(start: int, head_dim: int, aligned: int) -> None:
    room = torch.zeros(8 * head_dim + 64)
    room = room[(-room.data_ptr() // 4) % 16 :]
    part = room[start : start + 6 * head_dim].view(3, 2, head_dim)
    q = torch.zeros(1, 2, head_dim)
    assert (
        tiles_of(Call(q, q, q, [0, 1], [0, 1], None, [Extent(part, part)]), 16).aligned == aligned
    )


def test_a_block_that_holds_no_token_is_refused() -> None:
    with pytest.raises(ValueError, match="3 packed rows; one query token has 4"):
        tiles_of(call_of([(1, 1)], [None], group=4), 3)


def test_no_tokens_have_no_tiles() -> None:
    q = torch.zeros(0, 2, 16)
    tiles = tiles_of(Call(q, q, q, [0], [0], None, []), 16)
    assert (len(tiles.table), tiles.stride, tiles.parts, tiles.aligned) == (0, 0, (), True)
