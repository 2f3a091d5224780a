"""Tiles: each query meets each key it may see once, and no other; each is where the table says."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minireranker.kernels.band_attention.call import Call, Extent
from minireranker.kernels.band_attention.tiles import _OWN, FIELDS, Tiles


def extent_of(tokens: int, kv_heads: int = 2, dtype: torch.dtype = torch.float32) -> Extent:
    k, v = torch.zeros(2, tokens, kv_heads, 16, dtype=dtype)
    if dtype.is_floating_point and dtype.itemsize > 1:
        return Extent(k, v)
    return Extent(k, v, torch.ones(tokens, kv_heads), torch.ones(tokens, kv_heads))


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
    tiles = Tiles.of(call, tokens * call.group)
    met: Counter[tuple[int, str, int]] = Counter()
    for tile in tiles.table:
        for token in range(tile["q_start"], tile["q_stop"]):
            met["token", "", token] += 1
            met.update((token, "header", key) for key in range(tile["header"]))
            met.update((token, "prefix", tile["k"] + key) for key in range(tile["prefix"]))
            seen = range(tile["k_start"], tile["k_stop"])
            met.update(
                (token, "own", key)
                for key in seen
                if tiles.first[token] <= key <= tiles.last[token]
            )
    assert met == Counter(expected(call))
    assert tiles.tokens == max(t["q_stop"] - t["q_start"] for t in tiles.table) <= tokens


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
    k_scale, v_scale = torch.zeros(7, 3, 2)[:5, 1], torch.zeros(2, 7).T[1:6]
    extent = Extent(k, v, k_scale, v_scale)
    (tile,) = Tiles.of(call_of([(3, 3)], [extent]), 16).table
    assert tile["prefix"] == 5
    for name, part in zip(("k", "v", "k_scale", "v_scale"), extent, strict=True):
        strides = [int(tile[f"{name}_token"]), int(tile[f"{name}_head"])]
        assert (int(tile[name]), strides) == (part.data_ptr(), list(part.stride()[:2]))


def test_the_array_that_is_sent_holds_the_table_and_both_ends_of_what_a_token_sees() -> None:
    tiles = Tiles.of(call_of([(3, 5), (20, 20)], [extent_of(4), None], 2, padding=2), 16)
    sent = tiles.packed()
    assert sent.dtype == np.int64
    count = len(tiles.table) * len(FIELDS)
    for row, tile in zip(sent[:count].reshape(-1, len(FIELDS)), tiles.table, strict=True):
        assert row.tolist() == [int(tile[name]) for name in FIELDS]
    assert sent[count:].tolist() == [*tiles.first.tolist(), *tiles.last.tolist()]


def test_rows_of_one_document_share_tiles_and_long_prefixes_come_first() -> None:
    short, long = extent_of(10), extent_of(300)
    rows, prefixes = [(5, 5)] * 12, [short] * 4 + [long] * 4 + [short] * 4
    tiles = Tiles.of(call_of(rows, prefixes, group=2), 32)
    assert tiles.table["prefix"].tolist() == [300, 300, 10, 10, 10, 10]
    assert tiles.table["q_start"].tolist() == [20, 36, 0, 16, 40, 56]


@pytest.mark.parametrize(("rows", "tokens"), [([(1, 40)] * 100, 12), ([(7, 2000)] * 3, 7)])
def test_many_keys_to_few_queries_make_short_tiles(
    rows: list[tuple[int, int]], tokens: int
) -> None:
    tiles = Tiles.of(call_of(rows, [extent_of(9)] * len(rows)), 64)
    assert tiles.tokens == tokens
    assert (tiles.table["k_stop"] - tiles.table["k_start"]).max() <= max(_OWN, rows[0][1])


def test_prefixes_of_several_dtypes_are_parts_of_the_table() -> None:
    whole, small, empty = extent_of(5), extent_of(6, dtype=torch.int8), extent_of(0)
    call = call_of([(2, 2)] * 5, [whole, small, None, whole, empty], padding=1)
    tiles = Tiles.of(call, 16)
    assert [part.k for part in tiles.parts] == [torch.float32, torch.int8]
    assert [(part.first, part.stop) for part in tiles.parts] == [(0, 5), (5, 6)]
    assert tiles.table["k_scale"].astype(bool).tolist() == [False] * 5 + [True]
    alone = Tiles.of(call_of([(2, 2)] * 2, [small, None], padding=1), 16)
    assert [part.k for part in alone.parts] == [torch.int8], "nothing is missing without a prefix"


@pytest.mark.parametrize(("start", "head_dim", "aligned"), [(0, 16, 1), (0, 24, 0), (1, 16, 0)])
def test_alignment(start: int, head_dim: int, aligned: int) -> None:
    room = torch.zeros(8 * head_dim + 64)
    room = room[(-room.data_ptr() // 4) % 16 :]
    part = room[start : start + 6 * head_dim].view(3, 2, head_dim)
    q = torch.zeros(1, 2, head_dim)
    assert (
        Tiles.of(Call(q, q, q, [0, 1], [0, 1], None, [Extent(part, part)]), 16).aligned == aligned
    )


def test_a_block_that_holds_no_token_is_refused() -> None:
    with pytest.raises(ValueError, match="3 packed rows; one query token has 4"):
        Tiles.of(call_of([(1, 1)], [None], group=4), 3)


def test_no_tokens_have_no_tiles() -> None:
    q = torch.zeros(0, 2, 16)
    tiles = Tiles.of(Call(q, q, q, [0], [0], None, []), 16)
    assert (len(tiles.table), tiles.tokens, tiles.parts, tiles.aligned) == (0, 0, (), True)
