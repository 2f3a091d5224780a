// Band attention of one tile and one KV head: packed query rows over header, prefix and own keys,
// one pass, online softmax. Products in the queries' dtype, sums in float32.
//
// A block is WARPS warps of sixteen packed rows. K and V go through shared memory in chunks of KEYS
// keys, two deep: while the warps multiply one, the next one arrives. Chunks of a quantised prefix
// arrive as bytes and are widened on the spot, so that the products know one form only.
#ifndef MINIRERANKER_BAND_ATTENTION_CUH
#define MINIRERANKER_BAND_ATTENTION_CUH

#include "band_softmax.cuh"

namespace band {

// Where a packed row lies in q and out; `exists` is false past the tile's last one.
struct Place {
    bool exists;
    long long token;
    int head;

    DEVICE unsigned short* in(const Plane& plane) const {
        if (!exists) return nullptr;
        return reinterpret_cast<unsigned short*>(plane.address) + token * plane.token +
               head * plane.head;
    }
};

template <class Element, int HEAD_DIM, int WARPS>
struct Block {
    static constexpr int THREADS = WARPS * 32;

    const Launch& launch;
    const Tile& tile;
    Shared<HEAD_DIM>& shared;
    int kv_head;
    Rows<Element, HEAD_DIM> rows;
    int first[2], last[2];  // own keys that this lane's rows see

    DEVICE int packed_rows() const {
        return static_cast<int>(tile.q_stop - tile.q_start) * launch.group;
    }

    DEVICE bool is_busy() const { return warp::thread() / 32 * 16 < packed_rows(); }

    DEVICE Place place_of(int half) const {
        const unsigned thread = warp::thread();
        const unsigned row = thread / 32 * 16 + thread % 32 / 4 + half * 8;
        const unsigned group = launch.group, token = row / group;
        return {static_cast<int>(row) < packed_rows(), tile.q_start + token,
                static_cast<int>(kv_head * group + (row - token * group))};
    }

    DEVICE void fetch(int index) const {
        const Chunk chunk = chunk_at(launch, tile, index);
        const int stage = index % STAGES;
        copy_side<HEAD_DIM, THREADS>(shared.k[stage], shared.k_scales[stage],
                                     k_side(launch, tile, chunk.part, kv_head), chunk);
        copy_side<HEAD_DIM, THREADS>(shared.v[stage], shared.v_scales[stage],
                                     v_side(launch, tile, chunk.part, kv_head), chunk);
    }

    DEVICE void widen_prefix(int stage) const {
        const int k = launch.k_format, v = launch.v_format;
        const float* k_scales = launch.k_by_channel ? nullptr : shared.k_scales[stage];
        dequantise<Element, HEAD_DIM, THREADS>(shared.k[stage], k_scales, k);
        dequantise<Element, HEAD_DIM, THREADS>(shared.v[stage], shared.v_scales[stage], v);
        if (k != PLAIN || v != PLAIN) warp::sync_block();
    }

    // Keys `offset` and on of a chunk. Of what there is, own keys are seen between a row's first
    // and last: behind the chunk's may be those of another row. All see the rest.
    DEVICE Sight sight_of(const Chunk& chunk, int offset) const {
        Sight sight;
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const bool own = chunk.part == OWN;
            const int low = own ? first[half] - chunk.start : 0;
            const int end = chunk.count - 1, high = own ? last[half] - chunk.start : end;
            sight.low[half] = low - offset;
            sight.high[half] = (high < end ? high : end) - offset;
        }
        return sight;
    }

    DEVICE void attend(const Chunk& chunk, int stage) {
#pragma unroll 1
        for (int offset = 0; offset < chunk.count; offset += SPAN) {
            const int count = chunk.count - offset, bytes = offset * Store<HEAD_DIM>::PITCH;
            float scores[SPAN / 8][4];
            rows.multiply_keys(scores, shared.k[stage].rows + bytes, count);
            if (chunk.part == OWN || count < SPAN) rows.hide(scores, sight_of(chunk, offset));
            rows.weigh(scores, 0, launch.factor);
            rows.weigh(scores, 1, launch.factor);
            rows.multiply_values(scores, shared.v[stage].rows + bytes, count);
        }
    }

    static DEVICE int number_at(long long array, long long index) {
        return static_cast<int>(reinterpret_cast<const long long*>(array)[index]);
    }

    DEVICE void load_queries() {
#pragma unroll
        for (int half = 0; half < 2; ++half) rows.load(half, place_of(half).in(launch.q));
    }

    // Scales a channel are multiplied into the queries, once for all of a prefix.
    DEVICE void enter(const Chunk& chunk, int index) {
        if (chunk.part == PREFIX && chunk.start == 0) rows.scale(shared.channels());
        const int before = chunks_of(tile.header) + chunks_of(tile.prefix);
        if (index == before && tile.prefix > 0) load_queries();
    }

    DEVICE void load() {
        if (launch.k_by_channel && tile.prefix > 0) {
            copy_channels<HEAD_DIM, THREADS>(shared.channels(), k_scales_of(tile, kv_head),
                                             tile.k_scale_channel);
        }
        rows.clear();
        load_queries();
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const Place place = place_of(half);
            first[half] = 0;
            last[half] = -1;
            if (place.exists) {
                first[half] = number_at(launch.first, place.token);
                last[half] = number_at(launch.last, place.token);
            }
        }
    }

    DEVICE void store() {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const Place place = place_of(half);
            float* lse = nullptr;
            if (launch.lse != 0 && place.exists) {
                lse = reinterpret_cast<float*>(launch.lse) + place.token * launch.heads +
                      place.head;
            }
            rows.store(half, place.in(launch.out), lse, launch.factor);
        }
    }

    DEVICE void run() {
        load();
        const int chunks = chunks_of(tile);
        // A round asks for a chunk and multiplies the one before it.
#pragma unroll 1
        for (int index = -1; index < chunks; ++index) {
            if (index >= 0) {
                warp::wait_for_copies();
                // Every thread's copies are there, and nobody reads the other stage any more.
                warp::sync_block();
            }
            if (index + 1 < chunks) fetch(index + 1);
            if (index < 0) continue;
            const Chunk chunk = chunk_at(launch, tile, index);
            if (launch.k_by_channel) enter(chunk, index);
            if (chunk.part == PREFIX) widen_prefix(index % STAGES);
            if (is_busy()) attend(chunk, index % STAGES);
        }
        store();
    }
};

// All threads of a block of WARPS * 32; `memory`: sizeof(Shared<HEAD_DIM>) bytes, sixteen-aligned.
template <class Element, int HEAD_DIM, int WARPS>
DEVICE void attend(const Launch& launch, int tile, int kv_head, char* memory) {
    Block<Element, HEAD_DIM, WARPS> block{launch, reinterpret_cast<const Tile*>(launch.tiles)[tile],
                                          *reinterpret_cast<Shared<HEAD_DIM>*>(memory), kv_head};
    block.run();
}

}  // namespace band

#endif
