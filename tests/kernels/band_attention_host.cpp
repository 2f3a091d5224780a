// Runs the CUDA kernel's own source on the host: one fiber a thread, warp instructions when all
// lanes have arrived, copies to shared memory as early or as late as the hardware may do them.
// The instructions are written after their description in the PTX ISA: "Matrix fragments for
// mma.m16n8k16 with floating point type", "ldmatrix", "cp.async".
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace host {

struct Copy {
    char* to;
    const char* from;
    int bytes;
    bool present;
};

struct Thread {
    ucontext_t context;
    std::unique_ptr<char[]> stack;
    int index = 0;
    const char* waits_for = nullptr;  // name of the instruction that holds it; "block" for all
    const void* argument = nullptr;
    void* result = nullptr;
    bool done = false;
    std::vector<Copy> copies;
};

struct Machine {
    std::vector<Thread> threads;
    ucontext_t scheduler;
    Thread* current = nullptr;
    std::function<void()> body;
    std::string error;
    bool eager = false;
    char* shared = nullptr;
    long long shared_bytes = 0;
    const long long* ranges = nullptr;  // pairs of first and past-the-end addresses
    int n_ranges = 0;
};

Machine* machine = nullptr;

void check(bool right, const char* what) {
    if (!right && machine->error.empty()) machine->error = what;
}

void wait(const char* what, const void* argument = nullptr, void* result = nullptr) {
    Thread* self = machine->current;
    self->waits_for = what;
    self->argument = argument;
    self->result = result;
    swapcontext(&self->context, &machine->scheduler);
}

bool in_shared(const void* address, int bytes) {
    const char* at = static_cast<const char*>(address);
    return at >= machine->shared && at + bytes <= machine->shared + machine->shared_bytes;
}

bool readable(const char* from, int bytes) {
    for (int i = 0; i < machine->n_ranges; ++i) {
        const long long at = reinterpret_cast<long long>(from);
        if (at >= machine->ranges[2 * i] && at + bytes <= machine->ranges[2 * i + 1]) return true;
    }
    return false;
}

void perform(const Copy& copy) {
    std::memset(copy.to, 0, copy.bytes);
    if (copy.present) std::memcpy(copy.to, copy.from, copy.bytes);
}

void copy(void* to, const void* from, int bytes, bool present) {
    const Copy order{static_cast<char*>(to), static_cast<const char*>(from), bytes, present};
    check(in_shared(to, bytes), "a copy leaves shared memory");
    check(reinterpret_cast<long long>(to) % bytes == 0, "a copy's target is not aligned");
    check(reinterpret_cast<long long>(from) % bytes == 0, "a copy's source is not aligned");
    check(!present || readable(order.from, bytes), "a copy reads what nobody owns");
    if (!machine->error.empty()) return;
    if (machine->eager) perform(order);
    else machine->current->copies.push_back(order);
}

float bf16_value(unsigned bits) {
    const unsigned word = bits << 16;
    float value;
    std::memcpy(&value, &word, 4);
    return value;
}

unsigned bf16_bits(float value) {
    unsigned word;
    std::memcpy(&word, &value, 4);
    if (std::isnan(value)) return 0x7fff;
    return (word + 0x7fff + (word >> 16 & 1)) >> 16;
}

float fp16_value(unsigned bits) {
    const std::uint16_t word = bits;
    _Float16 value;
    std::memcpy(&value, &word, 2);
    return static_cast<float>(value);
}

unsigned fp16_bits(float value) {
    const _Float16 half = static_cast<_Float16>(value);
    std::uint16_t word;
    std::memcpy(&word, &half, 2);
    return word;
}

struct Product {
    float* sums;
    const unsigned* a;
    unsigned b[2];
};

// Lane l of `lanes` holds what its fragment's description says.
void multiply(Thread* lanes, float (*value)(unsigned)) {
    float a[16][16], b[16][8];
    for (int lane = 0; lane < 32; ++lane) {
        const Product& product = *static_cast<const Product*>(lanes[lane].argument);
        const int group = lane >> 2, pair = (lane & 3) * 2;
        for (int i = 0; i < 8; ++i) {  // a0 .. a7
            const int row = group + (i == 2 || i == 3 || i == 6 || i == 7 ? 8 : 0);
            const int column = pair + (i & 1) + (i >= 4 ? 8 : 0);
            a[row][column] = value(product.a[i / 2] >> (i & 1) * 16 & 0xffff);
        }
        for (int i = 0; i < 4; ++i) {  // b0 .. b3
            b[pair + (i & 1) + (i >= 2 ? 8 : 0)][group] =
                value(product.b[i / 2] >> (i & 1) * 16 & 0xffff);
        }
    }
    for (int lane = 0; lane < 32; ++lane) {
        const Product& product = *static_cast<const Product*>(lanes[lane].argument);
        for (int i = 0; i < 4; ++i) {  // c0 .. c3
            const int row = (lane >> 2) + (i >= 2 ? 8 : 0), column = (lane & 3) * 2 + (i & 1);
            for (int k = 0; k < 16; ++k) product.sums[i] += a[row][k] * b[k][column];
        }
    }
}

void load_matrices(Thread* lanes, bool transposed) {
    for (int lane = 0; lane < 32; ++lane) {
        const char* row = static_cast<const char*>(lanes[lane].argument);
        check(in_shared(row, 16), "ldmatrix leaves shared memory");
        check(reinterpret_cast<long long>(row) % 16 == 0, "ldmatrix is not aligned");
        if (!machine->error.empty()) return;
    }
    for (int lane = 0; lane < 32; ++lane) {
        unsigned* to = static_cast<unsigned*>(lanes[lane].result);
        for (int matrix = 0; matrix < 4; ++matrix) {
            std::uint16_t pair[2];
            for (int i = 0; i < 2; ++i) {
                int row = lane / 4, column = lane % 4 * 2 + i;
                if (transposed) std::swap(row, column);
                const void* from = lanes[matrix * 8 + row].argument;
                pair[i] = static_cast<const std::uint16_t*>(from)[column];
            }
            to[matrix] = pair[0] | static_cast<unsigned>(pair[1]) << 16;
        }
    }
}

struct Exchange {
    float value;
    int mask;
};

void exchange(Thread* lanes) {
    for (int lane = 0; lane < 32; ++lane) {
        const auto& own = *static_cast<const Exchange*>(lanes[lane].argument);
        const auto& other = *static_cast<const Exchange*>(lanes[lane ^ own.mask].argument);
        *static_cast<float*>(lanes[lane].result) = other.value;
    }
}

void execute(Thread* lanes) {
    const std::string what = lanes->waits_for;
    if (what == "bf16") multiply(lanes, bf16_value);
    if (what == "fp16") multiply(lanes, fp16_value);
    if (what == "ldmatrix") load_matrices(lanes, false);
    if (what == "ldmatrix.trans") load_matrices(lanes, true);
    if (what == "exchange") exchange(lanes);
}

bool waits(const Thread& thread, const std::string& what) {
    return thread.waits_for != nullptr && thread.waits_for == what;
}

void enter() {
    machine->body();
    machine->current->done = true;
    swapcontext(&machine->current->context, &machine->scheduler);
}

void start(int count) {
    machine->threads = std::vector<Thread>(count);
    for (int i = 0; i < count; ++i) {
        Thread& thread = machine->threads[i];
        constexpr int STACK = 64 * 1024;
        thread.index = i;
        thread.stack = std::make_unique<char[]>(STACK);
        getcontext(&thread.context);
        thread.context.uc_stack.ss_sp = thread.stack.get();
        thread.context.uc_stack.ss_size = STACK;
        makecontext(&thread.context, enter, 0);
    }
}

// A warp as far as it gets without the others; false if that is nowhere.
bool advance(Thread* lanes) {
    for (bool moved = false;; moved = true) {
        bool ran = false;
        for (int lane = 0; lane < 32 && machine->error.empty(); ++lane) {
            if (lanes[lane].done || lanes[lane].waits_for != nullptr) continue;
            machine->current = &lanes[lane];
            swapcontext(&machine->scheduler, &lanes[lane].context);
            ran = true;
        }
        const std::string what = lanes->waits_for == nullptr ? "" : lanes->waits_for;
        const bool met = what != "" && what != "block" &&
                         std::all_of(lanes, lanes + 32, [&](auto& t) { return waits(t, what); });
        if (!met || !machine->error.empty()) return moved || ran;
        execute(lanes);
        for (int lane = 0; lane < 32; ++lane) lanes[lane].waits_for = nullptr;
    }
}

// Every thread to its end, one warp as far ahead of the others as barriers let it. `backwards`: the
// last warp leads.
void run(int count, bool backwards) {
    start(count);
    auto& threads = machine->threads;
    while (machine->error.empty()) {
        bool moved = false;
        for (int first = 0; first < count; first += 32) {
            moved |= advance(&threads[backwards ? count - 32 - first : first]);
        }
        const auto all = [&](auto is) { return std::all_of(threads.begin(), threads.end(), is); };
        if (all([](auto& thread) { return thread.done; })) return;
        if (all([](auto& thread) { return waits(thread, "block"); })) {
            for (auto& thread : threads) thread.waits_for = nullptr;
        } else if (!moved) {
            machine->error = "threads wait for one another";
        }
    }
}

}  // namespace host

#define MINIRERANKER_WARP_CUH
#define DEVICE inline

namespace warp {

int thread() { return host::machine->current->index; }
void sync_block() { host::wait("block"); }
void sync_warp() { host::wait("warp"); }
void copy16(void* to, const void* from, bool present) { host::copy(to, from, 16, present); }
void copy4(void* to, const void* from, bool present) { host::copy(to, from, 4, present); }

void wait_for_copies() {
    for (const auto& copy : host::machine->current->copies) host::perform(copy);
    host::machine->current->copies.clear();
}

void load_matrices(unsigned (&to)[4], const void* row) { host::wait("ldmatrix", row, to); }
void load_transposed(unsigned (&to)[4], const void* row) { host::wait("ldmatrix.trans", row, to); }

float exchange(float value, int mask) {
    const host::Exchange argument{value, mask};
    float result;
    host::wait("exchange", &argument, &result);
    return result;
}

float float_of(unsigned bits) {
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}

float exp2(float x) { return std::exp2(x); }
float log2(float x) { return std::log2(x); }
float inverse(float x) { return 1 / x; }

struct Bf16 {
    static void multiply(float (&sums)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
        const host::Product product{sums, a, {b0, b1}};
        host::wait("bf16", &product);
    }
    static unsigned pack(float low, float high) {
        return host::bf16_bits(low) | host::bf16_bits(high) << 16;
    }
    static float low(unsigned word) { return host::bf16_value(word & 0xffff); }
    static float high(unsigned word) { return host::bf16_value(word >> 16); }
};

struct Fp16 {
    static void multiply(float (&sums)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
        const host::Product product{sums, a, {b0, b1}};
        host::wait("fp16", &product);
    }
    static unsigned pack(float low, float high) {
        return host::fp16_bits(low) | host::fp16_bits(high) << 16;
    }
    static float low(unsigned word) { return host::fp16_value(word & 0xffff); }
    static float high(unsigned word) { return host::fp16_value(word >> 16); }
};

}  // namespace warp

#include "band_attention.cuh"

namespace {

template <class Element, int HEAD_DIM, int WARPS>
void grid(const band::Launch& launch, int tiles, int kv_heads, bool backwards) {
    using Memory = band::Shared<HEAD_DIM>;
    std::vector<char> room(sizeof(Memory) + 16);
    char* memory = room.data() + 16 - reinterpret_cast<std::uintptr_t>(room.data()) % 16;
    host::machine->shared = memory;
    host::machine->shared_bytes = sizeof(Memory);
    for (int block = 0; block < tiles * kv_heads; ++block) {
        std::memset(memory, 0xff, sizeof(Memory));  // NaN, whatever it is read as
        const int tile = block % tiles, head = block / tiles;
        host::machine->body = [&launch, tile, head, memory] {
            band::attend<Element, HEAD_DIM, WARPS>(launch, tile, head, memory);
        };
        host::run(WARPS * 32, backwards);
    }
}

// A few of those there are: every head_dim, every number of warps.
template <class Element>
bool find(const band::Launch& launch, int tiles, int kv_heads, int dim, int warps, bool back) {
    if (dim == 16 && warps == 8) return grid<Element, 16, 8>(launch, tiles, kv_heads, back), true;
    if (dim == 32 && warps == 6) return grid<Element, 32, 6>(launch, tiles, kv_heads, back), true;
    if (dim == 64 && warps == 8) return grid<Element, 64, 8>(launch, tiles, kv_heads, back), true;
    if (dim == 80 && warps == 4) return grid<Element, 80, 4>(launch, tiles, kv_heads, back), true;
    if (dim == 128 && warps == 4) return grid<Element, 128, 4>(launch, tiles, kv_heads, back), true;
    if (dim == 128 && warps == 6) return grid<Element, 128, 6>(launch, tiles, kv_heads, back), true;
    return false;
}

}  // namespace

// Bytes of shared memory that a block of the kernel takes; 0 for a head_dim there is no kernel of.
extern "C" long long shared_bytes(int head_dim) {
    switch (head_dim) {
        case 16: return sizeof(band::Shared<16>);
        case 32: return sizeof(band::Shared<32>);
        case 64: return sizeof(band::Shared<64>);
        case 80: return sizeof(band::Shared<80>);
        case 128: return sizeof(band::Shared<128>);
    }
    return 0;
}

extern "C" int launch_bytes() { return sizeof(band::Launch); }
extern "C" int tile_bytes() { return sizeof(band::Tile); }

// The numbers that the 256 bytes stand for.
extern "C" void numbers(int format, float* to) {
    for (int byte = 0; byte < 256; ++byte) {
        const unsigned word = static_cast<unsigned>(byte) << byte % 4 * 8;
        to[byte] = format == band::INT8 ? band::number_of<band::INT8>(word, byte % 4)
                                        : band::number_of<band::E4M3>(word, byte % 4);
    }
}

// One launch; what was wrong goes to `error`, at most 255 characters, empty if nothing.
extern "C" void emulate(const band::Launch* launch, int tiles, int kv_heads, int is_fp16, int dim,
                        int warps, int eager, int backwards, const long long* ranges, int n_ranges,
                        char* error) {
    host::Machine machine;
    machine.eager = eager;
    machine.ranges = ranges;
    machine.n_ranges = n_ranges;
    host::machine = &machine;
    const bool known =
        is_fp16 ? find<warp::Fp16>(*launch, tiles, kv_heads, dim, warps, backwards)
                : find<warp::Bf16>(*launch, tiles, kv_heads, dim, warps, backwards);
    host::check(known, "no such kernel");
    std::snprintf(error, 256, "%s", machine.error.c_str());
}
