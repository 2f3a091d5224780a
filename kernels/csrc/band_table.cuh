// What the host tells the kernel: written by kernels/band_attention/tiles.py and cuda_table.py,
// which check these sizes from their side.
#ifndef MINIRERANKER_BAND_TABLE_CUH
#define MINIRERANKER_BAND_TABLE_CUH

namespace band {

// How a prefix holds its numbers. Quantised ones take a byte and have scales for each head: one a
// token, or one for all, whose stride is 0; those of K may be one a channel instead.
enum Format { PLAIN = 0, INT8 = 1, E4M3 = 2 };

// One row of the host's table: a run of query tokens that share a document, and that document.
// Addresses are of token 0, head 0; strides count numbers, not bytes.
struct Tile {
    long long q_start, q_stop;  // query tokens
    long long own, own_stop;    // blocks of own keys that some of them see
    long long header, prefix;   // keys that all of them see
    long long k, v, k_scale, v_scale;
    long long k_token, k_head, v_token, v_head;
    long long k_scale_token, k_scale_head, k_scale_channel, v_scale_token, v_scale_head;
};
static_assert(sizeof(Tile) == 19 * 8, "tiles.FIELDS has 19 columns of eight bytes");

// A tensor [tokens, heads, head_dim] whose last stride is 1.
struct Plane {
    long long address, token, head;
};
static_assert(sizeof(Plane) == 24, "as cuda_table.Plane");

struct Launch {
    Plane q, out;
    Plane header_k, header_v;
    Plane own_k, own_v;
    long long tiles;        // of Tile, one a block
    long long first, last;  // long long [tokens]: the own keys a query token sees, both inclusive
    long long blocks;       // long long: a first own key times 256, plus how many, at most KEYS
    long long lse;          // float [tokens, heads]; 0 where it is not wanted
    int heads, group;
    int k_format, v_format;  // of the prefixes: a Format
    float factor;            // what scores are multiplied by, times log2(e)
    int k_by_channel;        // whether K's scales are one a channel
};
static_assert(sizeof(Launch) == 6 * 24 + 5 * 8 + 6 * 4, "as cuda_table.Launch");

}  // namespace band

#endif
