// The instructions that C++ has no words for. Everything else of a kernel is plain C++: a host that
// brings these functions can run it (tests/kernels does).
#ifndef MINIRERANKER_WARP_CUH
#define MINIRERANKER_WARP_CUH

#define DEVICE __device__ __forceinline__

namespace warp {

// Asked for anew each time, lest what is computed from it stays in registers throughout a kernel.
DEVICE int thread() {
    int index;
    asm volatile("mov.u32 %0, %%tid.x;" : "=r"(index));
    return index;
}

DEVICE void sync_block() { __syncthreads(); }

DEVICE void sync_warp() { __syncwarp(); }

DEVICE float float_of(unsigned bits) { return __uint_as_float(bits); }

DEVICE unsigned address_of(const void* shared) {
    return static_cast<unsigned>(__cvta_generic_to_shared(shared));
}

// Sixteen bytes from global to shared memory, behind the thread's back; zeros if not `present`.
// Both addresses are multiples of sixteen.
DEVICE void copy16(void* to, const void* from, bool present) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address_of(to)), "l"(from),
                 "r"(present ? 16 : 0)
                 : "memory");
}

DEVICE void copy4(void* to, const void* from, bool present) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(address_of(to)), "l"(from),
                 "r"(present ? 4 : 0)
                 : "memory");
}

// Until every copy this thread asked for has arrived; the others' need sync_block() after it.
DEVICE void wait_for_copies() { asm volatile("cp.async.wait_all;" ::: "memory"); }

// Four 8 x 8 matrices of 16-bit numbers; lane i names row i % 8 of matrix i / 8. Of each, a lane
// gets two adjacent numbers of row lane / 4: columns 2 (lane % 4) and the next.
DEVICE void load_matrices(unsigned (&to)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(address_of(row))
                 : "memory");
}

// As load_matrices, of the transposed matrices.
DEVICE void load_transposed(unsigned (&to)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(address_of(row))
                 : "memory");
}

// The value of the lane whose number differs in the bits of `mask`.
DEVICE float exchange(float value, int mask) {
    return __shfl_xor_sync(0xffffffffu, value, mask);
}

// 2 ** x; 0 for -inf.
DEVICE float exp2(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

DEVICE float log2(float x) { return __log2f(x); }

DEVICE float inverse(float x) {
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// sums[16 x 8] += a[16 x 16] b[16 x 8] of two-number words: a lane holds, with g = lane / 4 and
// c = 2 (lane % 4), a: (g, c), (g + 8, c), (g, c + 8), (g + 8, c + 8), each with the next column;
// b: (c, g), (c + 8, g), each with the next row;
// sums: (g, c), (g, c + 1), (g + 8, c), (g + 8, c + 1).
struct Bf16 {
    static DEVICE void multiply(float (&sums)[4], const unsigned (&a)[4], unsigned b0,
                                unsigned b1) {
        asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
            "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
            : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
    }

    static DEVICE unsigned pack(float low, float high) {
        unsigned word;
        asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
        return word;
    }

    static DEVICE float low(unsigned word) { return float_of(word << 16); }
    static DEVICE float high(unsigned word) { return float_of(word & 0xffff0000u); }
};

struct Fp16 {
    static DEVICE void multiply(float (&sums)[4], const unsigned (&a)[4], unsigned b0,
                                unsigned b1) {
        asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
            "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
            : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
    }

    static DEVICE unsigned pack(float low, float high) {
        unsigned word;
        asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
        return word;
    }

    static DEVICE float low(unsigned word) {
        float value;
        asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(static_cast<unsigned short>(word)));
        return value;
    }
    static DEVICE float high(unsigned word) { return low(word >> 16); }
};

}  // namespace warp

#endif
