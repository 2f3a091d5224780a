// What a warp holds of its sixteen packed rows (query tokens times heads of a group), and what
// SPAN keys add to it. A lane has rows lane / 4 and lane / 4 + 8 of the sixteen, `half` 0
// and 1 below, and of every eight columns the two from 2 (lane % 4) on.
#ifndef MINIRERANKER_BAND_SOFTMAX_CUH
#define MINIRERANKER_BAND_SOFTMAX_CUH

#include "band_copy.cuh"

namespace band {

constexpr int SPAN = 32;  // keys whose scores a warp holds at a time: more of them cost registers
constexpr float LN2 = 0.693147180559945309f;

DEVICE float minus_infinity() { return warp::float_of(0xff800000u); }

DEVICE int lane_of() { return warp::thread() % 32; }

// The columns of a span that a lane's two rows see: low <= column <= high.
struct Sight {
    int low[2], high[2];
};

template <class Element, int HEAD_DIM>
struct Rows {
    static_assert(HEAD_DIM % 16 == 0, "a matrix product takes sixteen dimensions at a time");
    static constexpr int STEPS = HEAD_DIM / 16, PITCH = Store<HEAD_DIM>::PITCH;

    unsigned q[STEPS][4];
    float out[HEAD_DIM / 8][4];
    float best[2];  // the largest score so far, unscaled
    float sum[2];   // of this lane's columns only

    DEVICE void clear() {
#pragma unroll
        for (int n = 0; n < HEAD_DIM / 8; ++n) {
#pragma unroll
            for (int i = 0; i < 4; ++i) out[n][i] = 0;
        }
        best[0] = best[1] = minus_infinity();
        sum[0] = sum[1] = 0;
    }

    // Queries of `half`; null for a row that is not there.
    DEVICE void load(int half, const unsigned short* row) {
        const int column = lane_of() % 4 * 2;
#pragma unroll
        for (int step = 0; step < STEPS; ++step) {
#pragma unroll
            for (int eight = 0; eight < 2; ++eight) {
                const unsigned short* from = row + step * 16 + eight * 8 + column;
                q[step][eight * 2 + half] =
                    row == nullptr ? 0 : *reinterpret_cast<const unsigned*>(from);
            }
        }
    }

    // The queries times `scales` of their dimensions; rounded once.
    DEVICE void scale(const float* scales) {
#pragma unroll
        for (int step = 0; step < STEPS; ++step) {
#pragma unroll
            for (int eight = 0; eight < 2; ++eight) {
                const float* from = scales + step * 16 + eight * 8 + lane_of() % 4 * 2;
                // In turns: reading all of them ahead would cost registers.
                warp::sync_warp();
                const float low = from[0], high = from[1];
#pragma unroll
                for (int half = 0; half < 2; ++half) {
                    unsigned& pair = q[step][eight * 2 + half];
                    pair = Element::pack(Element::low(pair) * low, Element::high(pair) * high);
                }
            }
        }
    }

    DEVICE void multiply_keys(float (&scores)[SPAN / 8][4], const char* k, int count) const {
        const int lane = lane_of(), key = lane % 8 + lane / 16 * 8, dim = lane / 8 % 2 * 8;
        const char* row = k + key * PITCH + dim * 2;
#pragma unroll
        for (int pair = 0; pair < SPAN / 16; ++pair) {
#pragma unroll
            for (int i = 0; i < 8; ++i) scores[pair * 2 + i / 4][i % 4] = 0;
            if (pair * 16 < count) {
#pragma unroll
                for (int step = 0; step < STEPS; ++step) {
                    unsigned b[4];
                    warp::load_matrices(b, row + pair * 16 * PITCH + step * 32);
                    Element::multiply(scores[pair * 2], q[step], b[0], b[1]);
                    Element::multiply(scores[pair * 2 + 1], q[step], b[2], b[3]);
                }
            }
        }
    }

    static DEVICE void hide(float (&scores)[SPAN / 8][4], const Sight& sight) {
        const int start = lane_of() % 4 * 2;
#pragma unroll
        for (int n = 0; n < SPAN / 8; ++n) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const int column = start + n * 8 + i % 2;
                const bool seen = column >= sight.low[i / 2] && column <= sight.high[i / 2];
                scores[n][i] = seen ? scores[n][i] : minus_infinity();
            }
        }
    }

    // Scores become weights relative to the best score so far; what was summed before shrinks. By
    // nothing at all where the best one stays: keys of which a row sees none must not change it.
    DEVICE void weigh(float (&scores)[SPAN / 8][4], int half, float factor) {
        float top = best[half];
#pragma unroll
        for (int n = 0; n < SPAN / 8; ++n) {
            top = fmaxf(top, fmaxf(scores[n][half * 2], scores[n][half * 2 + 1]));
        }
        top = fmaxf(top, warp::exchange(top, 1));
        top = fmaxf(top, warp::exchange(top, 2));
        const float base = base_of(top, factor);
        const float less = top == best[half] ? 0.0f : fmaf(best[half], factor, -base);
        const float shrink = warp::exp2(less);
        best[half] = top;
        sum[half] *= shrink;
#pragma unroll
        for (int n = 0; n < SPAN / 8; ++n) {
#pragma unroll
            for (int i = half * 2; i < half * 2 + 2; ++i) {
                scores[n][i] = warp::exp2(fmaf(scores[n][i], factor, -base));
                sum[half] += scores[n][i];
            }
        }
#pragma unroll
        for (int n = 0; n < HEAD_DIM / 8; ++n) {
            out[n][half * 2] *= shrink;
            out[n][half * 2 + 1] *= shrink;
        }
    }

    DEVICE void multiply_values(const float (&weights)[SPAN / 8][4], const char* v, int count) {
        const int lane = lane_of(), key = lane % 16, dim = lane / 16 * 8;
        const char* row = v + key * PITCH + dim * 2;
#pragma unroll
        for (int pair = 0; pair < SPAN / 16; ++pair) {
            if (pair * 16 < count) {
                const float(&left)[4] = weights[pair * 2], (&right)[4] = weights[pair * 2 + 1];
                const unsigned a[4] = {
                    Element::pack(left[0], left[1]), Element::pack(left[2], left[3]),
                    Element::pack(right[0], right[1]), Element::pack(right[2], right[3])};
#pragma unroll
                for (int step = 0; step < STEPS; ++step) {
                    unsigned b[4];
                    warp::load_transposed(b, row + pair * 16 * PITCH + step * 32);
                    Element::multiply(out[step * 2], a, b[0], b[1]);
                    Element::multiply(out[step * 2 + 1], a, b[2], b[3]);
                }
            }
        }
    }

    // What scaled scores are taken relative to, in powers of two. A row that has seen no key yet
    // takes 0: -inf less -inf is NaN.
    static DEVICE float base_of(float top, float factor) {
        return top == minus_infinity() ? 0.0f : top * factor;
    }

    // Rows that saw no key are zeros.
    DEVICE void store(int half, unsigned short* row, float* lse, float factor) {
        float total = sum[half];
        total += warp::exchange(total, 1);
        total += warp::exchange(total, 2);
        if (row == nullptr) return;
        const float inverse = total == 0 ? 0.0f : warp::inverse(total);
        const int column = lane_of() % 4 * 2;
#pragma unroll
        for (int n = 0; n < HEAD_DIM / 8; ++n) {
            const float low = out[n][half * 2] * inverse, high = out[n][half * 2 + 1] * inverse;
            *reinterpret_cast<unsigned*>(row + n * 8 + column) = Element::pack(low, high);
        }
        if (lse != nullptr && column == 0) {
            const float base = base_of(best[half], factor);
            *lse = total == 0 ? minus_infinity() : (base + warp::log2(total)) * LN2;
        }
    }
};

}  // namespace band

#endif
