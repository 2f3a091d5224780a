"""Band attention's Triton kernel: one tile of packed query rows for one KV head.

A program goes once over header, prefix and own keys with an online softmax in float32 (Milakov and
Gimelshein, arXiv 1805.02867), in base 2. Prefixes are read where they lie, by address. Quantised
numbers become the queries' dtype in registers; scales of K multiply columns of the scores, or the
queries where they are one a channel, those of V the weights. What lies outside an extent is never
read: 0 times a stale NaN would be NaN.
"""

# Triton's decorator has no types.
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

import triton
import triton.language as tl

from .tiles import BLOCK, FIELDS

__all__ = ["kernel", "numbers"]

_WIDTH = tl.constexpr(len(FIELDS))
_BLOCK = tl.constexpr(BLOCK)
_LN_2 = tl.constexpr(0.6931471805599453)


@triton.jit
def numbers(loaded: tl.tensor, DTYPE: tl.constexpr) -> tl.tensor:
    """What was loaded, in ``DTYPE``; bytes are float8_e4m3fn where the compiler has none.

    A float16 has the same bits with one more of the exponent, which counts from eight further up.
    """
    if loaded.dtype == tl.uint8:
        bits = loaded.to(tl.uint16)
        half = ((bits & 0x80) << 8) | ((bits & 0x7F) << 7)
        wide = half.to(tl.float16, bitcast=True).to(tl.float32) * 256.0
        return tl.where((bits & 0x7F) == 0x7F, float("nan"), wide).to(DTYPE)
    return loaded.to(DTYPE)


@triton.jit
def _add(
    state: tl.tuple,
    query: tl.tensor,
    k_side: tl.tuple,
    v_side: tl.tuple,
    at: tl.tensor,
    stop: tl.tensor,
    own: tl.tuple,
    factor: tl.tensor,
    SCALES: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    KEYS: tl.constexpr,
    OFFSET: tl.constexpr,
) -> tl.tuple:
    """Add keys [at, stop), at most KEYS, to ``state``: sums of weights, largest exponents, means.

    A side: the head's pointer, token stride; of scales the same. A row sees the keys from
    ``own[0]`` to ``own[1]`` alone; all, if that is None. A row that sees none of them keeps its
    state to the bit: it shrinks by 2 ** 0 and grows by zeros. SCALES: 0 for none, 1 for both K and
    V by token, 2 if K's are in ``query`` already.
    """
    total, peak, mean = state
    k, k_token, k_scale, k_scale_token = k_side
    v, v_token, v_scale, v_scale_token = v_side
    columns = tl.arange(0, KEYS)
    dims = tl.arange(0, query.shape[1])
    # Blocks are found with 64 bits; within one, 32 do as a rule.
    k_offsets = columns[:, None] * tl.cast(k_token, OFFSET) + dims[None, :]
    v_offsets = columns[:, None] * tl.cast(v_token, OFFSET) + dims[None, :]
    k_step, v_step = tl.cast(k_token, tl.int64), tl.cast(v_token, tl.int64)
    here = at + columns < stop
    mask = here[:, None]
    if query.shape[1] > HEAD_DIM:
        mask = mask & (dims < HEAD_DIM)[None, :]
    keys = numbers(tl.load(k + at * k_step + k_offsets, mask=mask, other=0.0), query.dtype)
    scores = tl.dot(query, tl.trans(keys), input_precision="ieee")
    if SCALES == 1:
        k_scales = columns * tl.cast(k_scale_token, OFFSET)
        scales = tl.load(k_scale + at * k_scale_token + k_scales, mask=here, other=0.0)
        scores *= (scales * factor)[None, :]
    else:
        scores *= factor
    seen = here[None, :]
    if own is not None:
        key = at + columns[None, :]
        seen = seen & (own[0][:, None] <= key) & (key <= own[1][:, None])
    scores = tl.where(seen, scores, float("-inf"))
    top = tl.maximum(peak, tl.max(scores, 1))
    base = top
    if own is not None:
        # A row that has seen no key yet: -inf - -inf would be NaN.
        base = tl.where(top == float("-inf"), 0.0, top)
    weights = tl.exp2(scores - base[:, None])
    decay = tl.exp2(peak - base)
    total = total * decay + tl.sum(weights, 1)
    if SCALES > 0:
        v_scales = columns * tl.cast(v_scale_token, OFFSET)
        scales = tl.load(v_scale + at * v_scale_token + v_scales, mask=here, other=0.0)
        weights *= scales[None, :]
    values = numbers(tl.load(v + at * v_step + v_offsets, mask=mask, other=0.0), query.dtype)
    mean = mean * decay[:, None]
    mean = tl.dot(weights.to(query.dtype), values, mean, input_precision="ieee")
    return total, top, mean


@triton.jit
def _absorb(
    state: tl.tuple,
    query: tl.tensor,
    k_side: tl.tuple,
    v_side: tl.tuple,
    stop: tl.tensor,
    factor: tl.tensor,
    SCALES: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    KEYS: tl.constexpr,
    OFFSET: tl.constexpr,
) -> tl.tuple:
    """Add keys [0, stop), which all rows see."""
    total, peak, mean = state
    for at in range(0, stop, KEYS):
        state = (total, peak, mean)
        total, peak, mean = _add(
            state, query, k_side, v_side, at, stop, None, factor, SCALES, HEAD_DIM, KEYS, OFFSET
        )
    return total, peak, mean


@triton.jit
def _absorb_own(
    state: tl.tuple,
    query: tl.tensor,
    k_side: tl.tuple,
    v_side: tl.tuple,
    blocks: tl.tensor,
    start: tl.tensor,
    stop: tl.tensor,
    own: tl.tuple,
    factor: tl.tensor,
    HEAD_DIM: tl.constexpr,
    KEYS: tl.constexpr,
    OFFSET: tl.constexpr,
) -> tl.tuple:
    """Add ``Tiles.blocks`` [start, stop)."""
    total, peak, mean = state
    for index in range(start, stop):
        block = tl.load(blocks + index)
        at = (block // _BLOCK).to(tl.int32)
        end = at + (block % _BLOCK).to(tl.int32)
        state = (total, peak, mean)
        total, peak, mean = _add(
            state, query, k_side, v_side, at, end, own, factor, 0, HEAD_DIM, KEYS, OFFSET
        )
    return total, peak, mean


@triton.jit(do_not_specialize=["first_tile", "tokens_at", "total_q"])
def kernel(
    q: tl.tensor,
    own_k: tl.tensor,
    own_v: tl.tensor,
    header_k: tl.tensor,
    header_v: tl.tensor,
    table: tl.tensor,
    out: tl.tensor,
    lse: tl.tensor,
    first_tile: tl.tensor,
    tokens_at: tl.tensor,
    total_q: tl.tensor,
    kv_heads: tl.tensor,
    q_token: tl.tensor,
    q_head: tl.tensor,
    own_k_token: tl.tensor,
    own_k_head: tl.tensor,
    own_v_token: tl.tensor,
    own_v_head: tl.tensor,
    header_k_token: tl.tensor,
    header_k_head: tl.tensor,
    header_v_token: tl.tensor,
    header_v_head: tl.tensor,
    factor: tl.tensor,
    DTYPE: tl.constexpr,
    K_DTYPE: tl.constexpr,
    V_DTYPE: tl.constexpr,
    OFFSET: tl.constexpr,
    SCALES: tl.constexpr,
    ALIGNED: tl.constexpr,
    LSE: tl.constexpr,
    GROUP: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    DIM: tl.constexpr,
    ROWS: tl.constexpr,
    KEYS: tl.constexpr,
) -> None:
    """Tile ``first_tile + program // kv_heads``, KV head ``program % kv_heads``.

    ``table``: ``Tiles.packed()``, in which the tokens' first own keys start at ``tokens_at``.
    ``factor``: the scale in base 2. DTYPE: what is multiplied in; OFFSET: of places in a block.
    """
    program = tl.program_id(0)
    head = (program % kv_heads).to(tl.int64)
    tile = table + (first_tile + program // kv_heads).to(tl.int64) * _WIDTH
    # In the order of FIELDS.
    q_start, q_stop = tl.load(tile), tl.load(tile + 1)
    own, own_stop = tl.load(tile + 2).to(tl.int32), tl.load(tile + 3).to(tl.int32)
    header, prefix = tl.load(tile + 4).to(tl.int32), tl.load(tile + 5).to(tl.int32)

    rows, dims = tl.arange(0, ROWS), tl.arange(0, DIM)
    tokens = q_start + rows // GROUP
    heads = head * GROUP + rows % GROUP
    present = tokens < q_stop
    mask = present[:, None] & (dims < HEAD_DIM)[None, :]
    places = tokens * q_token + heads * q_head
    query = tl.load(q + places[:, None] + dims[None, :], mask=mask, other=0.0).to(DTYPE)

    lowest = tl.full([ROWS], float("-inf"), tl.float32)
    state = (tl.zeros([ROWS], tl.float32), lowest, tl.zeros([ROWS, DIM], tl.float32))
    k_side = (header_k + head * header_k_head, header_k_token, header_k, 0)
    v_side = (header_v + head * header_v_head, header_v_token, header_v, 0)
    state = _absorb(state, query, k_side, v_side, header, factor, 0, HEAD_DIM, KEYS, OFFSET)
    k, v = tl.load(tile + 6), tl.load(tile + 7)
    k_scale = tl.load(tile + 8).to(tl.pointer_type(tl.float32)) + head * tl.load(tile + 15)
    v_scale = tl.load(tile + 9).to(tl.pointer_type(tl.float32)) + head * tl.load(tile + 18)
    k_token, k_head = tl.load(tile + 10), tl.load(tile + 11)
    v_token, v_head = tl.load(tile + 12), tl.load(tile + 13)
    k_scale_token, v_scale_token = tl.load(tile + 14), tl.load(tile + 17)
    if ALIGNED:
        k_token, k_head = tl.multiple_of(k_token, 16), tl.multiple_of(k_head, 16)
        v_token, v_head = tl.multiple_of(v_token, 16), tl.multiple_of(v_head, 16)
    k_base, v_base = k.to(tl.pointer_type(K_DTYPE)), v.to(tl.pointer_type(V_DTYPE))
    if ALIGNED:
        k_base, v_base = tl.multiple_of(k_base, 16), tl.multiple_of(v_base, 16)
    k_side = (k_base + head * k_head, k_token, k_scale, k_scale_token)
    v_side = (v_base + head * v_head, v_token, v_scale, v_scale_token)
    scaled = query
    if SCALES == 2:
        channels = k_scale + dims * tl.load(tile + 16)
        # Without a prefix the address is 0.
        known = dims < tl.where(prefix > 0, HEAD_DIM, 0)
        scales = tl.load(channels, mask=known, other=0.0)
        scaled = (query.to(tl.float32) * scales[None, :]).to(DTYPE)
    state = _absorb(state, scaled, k_side, v_side, prefix, factor, SCALES, HEAD_DIM, KEYS, OFFSET)
    first = tl.load(table + tokens_at + tokens, mask=present, other=0).to(tl.int32)
    last = tl.load(table + tokens_at + total_q + tokens, mask=present, other=-1).to(tl.int32)
    k_side = (own_k + head * own_k_head, own_k_token, own_k, 0)
    v_side = (own_v + head * own_v_head, own_v_token, own_v, 0)
    blocks, sight = table + tokens_at + 2 * total_q, (first, last)
    total, peak, mean = _absorb_own(
        state,
        query,
        k_side,
        v_side,
        blocks,
        own,
        own_stop,
        sight,
        factor,
        HEAD_DIM,
        KEYS,
        OFFSET,
    )
    # A padding token has seen nothing: its sum is 0, and so is its output.
    divisor = tl.where(total == 0.0, 1.0, total)
    places = tokens * (kv_heads * GROUP) + heads
    tl.store(out + places[:, None] * HEAD_DIM + dims[None, :], mean / divisor[:, None], mask=mask)
    if LSE:
        tl.store(lse + places, (peak + tl.log2(divisor)) * _LN_2, mask=present)
