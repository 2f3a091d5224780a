// Which keys a block reads, in which order; how they come to shared memory; and how those of a
// quantised prefix become numbers of the queries' dtype there.
#ifndef MINIRERANKER_BAND_COPY_CUH
#define MINIRERANKER_BAND_COPY_CUH

#include "band_table.cuh"
#include "warp.cuh"

namespace band {

constexpr int KEYS = 64;   // of a chunk
constexpr int STAGES = 2;  // one chunk is multiplied while the next one arrives

enum Part { HEADER = 0, PREFIX = 1, OWN = 2 };

// Keys [start, start + count) of one part; at most KEYS, and no chunk has keys of two parts.
struct Chunk {
    Part part;
    int start, count;
};

DEVICE int chunks_of(long long keys) { return (static_cast<int>(keys) + KEYS - 1) / KEYS; }

DEVICE int chunks_of(const Tile& tile) {
    return chunks_of(tile.header) + chunks_of(tile.prefix) +
           static_cast<int>(tile.own_stop - tile.own);
}

DEVICE Chunk chunk_between(Part part, int start, long long stop) {
    const int left = static_cast<int>(stop) - start;
    return {part, start, left < KEYS ? left : KEYS};
}

// Chunk `index` of header, prefix and own keys, in this order.
DEVICE Chunk chunk_at(const Launch& launch, const Tile& tile, int index) {
    const int header = chunks_of(tile.header), prefix = chunks_of(tile.prefix);
    if (index < header) return chunk_between(HEADER, index * KEYS, tile.header);
    index -= header;
    if (index < prefix) return chunk_between(PREFIX, index * KEYS, tile.prefix);
    index -= prefix;
    // Those of a row start where the row does: what shares its tile has no say in them.
    const long long block = reinterpret_cast<const long long*>(launch.blocks)[tile.own + index];
    return {OWN, static_cast<int>(block >> 8), static_cast<int>(block & 255)};
}

// K or V of one part and one head, as bytes.
struct Side {
    const char* rows;
    long long row_stride;
    bool plain;
    const float* scales;  // one a token; null where there are none, or others
    long long scale_stride;
};

DEVICE Side plain_side(const Plane& plane, int head) {
    return {reinterpret_cast<const char*>(plane.address + plane.head * head * 2), plane.token * 2,
            true, nullptr, 0};
}

DEVICE const float* k_scales_of(const Tile& tile, int head) {
    return reinterpret_cast<const float*>(tile.k_scale) + tile.k_scale_head * head;
}

DEVICE Side k_side(const Launch& launch, const Tile& tile, Part part, int head) {
    if (part == HEADER) return plain_side(launch.header_k, head);
    if (part == OWN) return plain_side(launch.own_k, head);
    if (launch.k_format == PLAIN) return plain_side({tile.k, tile.k_token, tile.k_head}, head);
    const float* scales = k_scales_of(tile, head);
    return {reinterpret_cast<const char*>(tile.k + tile.k_head * head), tile.k_token, false,
            launch.k_by_channel ? nullptr : scales, tile.k_scale_token};
}

DEVICE Side v_side(const Launch& launch, const Tile& tile, Part part, int head) {
    if (part == HEADER) return plain_side(launch.header_v, head);
    if (part == OWN) return plain_side(launch.own_v, head);
    if (launch.v_format == PLAIN) return plain_side({tile.v, tile.v_token, tile.v_head}, head);
    return {reinterpret_cast<const char*>(tile.v + tile.v_head * head), tile.v_token, false,
            reinterpret_cast<const float*>(tile.v_scale) + tile.v_scale_head * head,
            tile.v_scale_token};
}

// A chunk's K or V in shared memory: rows of PITCH bytes. Sixteen more than the numbers take, so
// that the same columns of eight rows lie in eight different groups of banks.
template <int HEAD_DIM>
struct Store {
    static constexpr int PITCH = HEAD_DIM * 2 + 16;
    char rows[KEYS * PITCH];
};

template <int HEAD_DIM>
struct Shared {
    Store<HEAD_DIM> k[STAGES], v[STAGES];
    float k_scales[STAGES][KEYS], v_scales[STAGES][KEYS];

    // Those of K by channel, which take the place of the ones by token.
    DEVICE float* channels() {
        static_assert(HEAD_DIM <= STAGES * KEYS, "there is room for a scale a channel");
        return k_scales[0];
    }
};

// Threads that share a row of `COLUMNS` words of sixteen bytes: a power of two, so that a thread
// keeps its column from one round to the next.
template <int COLUMNS>
DEVICE constexpr int lanes_for() {
    return COLUMNS > 8 ? 16 : COLUMNS > 4 ? 8 : 4;
}

// ROW_BYTES of each row; rows from `count` on become zeros, which no softmax weight turns into NaN.
template <int HEAD_DIM, int ROW_BYTES, int THREADS>
DEVICE void copy_rows(Store<HEAD_DIM>& to, const char* from, long long stride, int count) {
    constexpr int COLUMNS = ROW_BYTES / 16, LANES = lanes_for<COLUMNS>(), STEP = THREADS / LANES;
    const int thread = warp::thread(), column = thread % LANES, first = thread / LANES;
    if (column >= COLUMNS) return;
    const char* row_from = from + first * stride + column * 16;
#pragma unroll
    for (int base = 0; base < KEYS; base += STEP) {
        const int row = base + first;
        const bool present = row < count;
        if (KEYS % STEP == 0 || row < KEYS) {
            warp::copy16(to.rows + row * Store<HEAD_DIM>::PITCH + column * 16,
                         present ? row_from : from, present);
        }
        row_from += STEP * stride;
    }
}

template <int HEAD_DIM, int THREADS>
DEVICE void copy_side(Store<HEAD_DIM>& to, float* scales, const Side& side, const Chunk& chunk) {
    const char* from = side.rows + chunk.start * side.row_stride;
    if (side.plain) {
        copy_rows<HEAD_DIM, HEAD_DIM * 2, THREADS>(to, from, side.row_stride, chunk.count);
        return;
    }
    copy_rows<HEAD_DIM, HEAD_DIM, THREADS>(to, from, side.row_stride, chunk.count);
    if (side.scales == nullptr) return;
    static_assert(THREADS >= KEYS, "a scale a thread");
    const int row = warp::thread();
    if (row < KEYS) {
        const bool present = row < chunk.count;
        const float* scale = side.scales + chunk.start * side.scale_stride;
        warp::copy4(scales + row, scale + (present ? row * side.scale_stride : 0), present);
    }
}

// `stride`: from one channel's scale to the next one's.
template <int HEAD_DIM, int THREADS>
DEVICE void copy_channels(float* to, const float* from, long long stride) {
#pragma unroll
    for (int base = 0; base < HEAD_DIM; base += THREADS) {
        const int channel = base + warp::thread();
        if (channel < HEAD_DIM) warp::copy4(to + channel, from + channel * stride, true);
    }
}

// Number `index` of four packed in a word.
template <int FORMAT>
DEVICE float number_of(unsigned word, int index) {
    const unsigned byte = word >> (8 * index) & 0xffu;
    if constexpr (FORMAT == INT8) {
        // 2^23 + 128 + number is a float whose last bits are the number's, its sign turned round.
        return warp::float_of(0x4b000000u | (byte ^ 0x80u)) - 8388736.0f;
    }
    // A float's exponent counts from 127 and e4m3's from 7: 2^120 makes up for it. The largest
    // pattern is its NaN.
    const float number = warp::float_of((byte & 0x80u) << 24 | (byte & 0x7fu) << 20) * 0x1p120f;
    return (byte & 0x7fu) == 0x7fu ? warp::float_of(0x7fc00000u) : number;
}

struct alignas(16) Words {
    unsigned word[4];
};

// Sixteen bytes times their scale, as sixteen numbers of two bytes.
template <class Element, int FORMAT>
DEVICE void widen(Words* to, const Words& bytes, float scale) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        Words out;
#pragma unroll
        for (int pair = 0; pair < 4; ++pair) {
            const unsigned word = bytes.word[half * 2 + pair / 2];
            const int index = pair % 2 * 2;
            out.word[pair] = Element::pack(number_of<FORMAT>(word, index) * scale,
                                           number_of<FORMAT>(word, index + 1) * scale);
        }
        to[half] = out;
    }
}

// A chunk that arrived as bytes becomes numbers, in place; exactly those, if `scales` is null. All
// threads of the block; they have to meet once more before they read the rows.
template <class Element, int FORMAT, int HEAD_DIM, int THREADS>
DEVICE void dequantise(Store<HEAD_DIM>& store, const float* scales) {
    constexpr int COLUMNS = HEAD_DIM / 16, LANES = lanes_for<COLUMNS>(), STEP = THREADS / LANES;
    static_assert(LANES <= 32, "the threads of a row are of one warp");
    const int thread = warp::thread(), column = thread % LANES;
#pragma unroll 1
    for (int base = 0; base < KEYS; base += STEP) {
        const int row = base + thread / LANES;
        const bool mine = column < COLUMNS && row < KEYS;
        char* start = store.rows + row * Store<HEAD_DIM>::PITCH;
        Words bytes;
        if (mine) bytes = reinterpret_cast<const Words*>(start)[column];
        // A row's numbers take the place of bytes that other lanes have yet to read.
        warp::sync_warp();
        Words* to = reinterpret_cast<Words*>(start) + column * 2;
        if (mine) widen<Element, FORMAT>(to, bytes, scales == nullptr ? 1.0f : scales[row]);
    }
}

template <class Element, int HEAD_DIM, int THREADS>
DEVICE void dequantise(Store<HEAD_DIM>& store, const float* scales, int format) {
    if (format == INT8) dequantise<Element, INT8, HEAD_DIM, THREADS>(store, scales);
    if (format == E4M3) dequantise<Element, E4M3, HEAD_DIM, THREADS>(store, scales);
}

}  // namespace band

#endif
