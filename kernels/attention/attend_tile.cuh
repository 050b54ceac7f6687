// Attention of a tile of rows over pages of f16 or bf16, on tensor cores: what attend_decode_split and attend_prefill share.
//
// A tile has 16 lines per warp; a line is one query head of one row, and the lines of a row are the HEADS heads that share a kv
// head, so that keys and values are read once for all of them. The keys of a 128-token chunk, then its values, arrive in
// shared memory by asynchronous copies while the previous half is being used.
//
// A warp does one chunk alone, in the same order wherever it runs, so a row has the same bits in a tile of 1 row or of 64:
//   S = q K^T by mma m16n8k16, 16 dimensions at a time in rising order; m = the largest of scale * log2(e) * S
//   p = 2^(S - m), l = sum of p: 32 of a thread in rising order of token, then a butterfly over the 4 threads of a line
//   o = p V by mma m16n8k16, 16 tokens at a time in rising order; then softmax.cuh's Merge into O
// Rounding points: q and p are rounded to KV's type; everything else is f32.
#pragma once
#include "attention/softmax.cuh"
#include "shared/kv_layout.cuh"
#include "shared/warp.cuh"

constexpr i32 LINES = 16;                          // per warp: the M of the mma
constexpr i32 PITCH = HEAD_DIM + 8;                // note: 16 more bytes per line put the 8 rows of an ldmatrix on 8 bank groups
constexpr i32 PIECES = HEAD_DIM / 8;               // 16-byte pieces of a token's key
constexpr i32 SLICE = HEAD_DIM % 32 == 0 ? 32 : 16;  // dimensions of o at a time: four sums, or two, under way

static_assert(HEAD_DIM % 16 == 0, "the mma takes 16 dimensions at a time");

// What every thread of the tile's block knows about the tokens that the tile's rows see.
struct TileTokens {
    KvPages  kv;
    Visible  visible;   // the union over the tile's rows
    i32      sequence, kv_head, kv_heads;

    // The next chunk from `chunk` on that some row may see; visible.chunks() if there is none.
    __device__ __forceinline__ i32 next(i32 chunk) const {
        const i32 past = visible.chunks();
        while (chunk < past && !visible.any_of(chunk)) {
            chunk++;
        }
        return chunk;
    }

    // Starts copying the keys (or the values) of a chunk; tokens that no row sees become zeros, because zero weights times
    // whatever is in a page that nobody wrote (NaN, in tests) must stay zero.
    template <i32 Threads> __device__ __forceinline__ void copy(KV* shared, i32 chunk, bool values) const {
        const KvLayout layout{PAGE_TOKENS, kv_heads, HEAD_DIM, 8 * sizeof(KV)};
#pragma unroll (HEAD_DIM > (STREAMS ? 112 : 64) ? 1 : 2)
        for (i32 i = threadIdx.x; i < CHUNK_TOKENS * PIECES; i += Threads) {
            const i32 place = i / PIECES, piece = i % PIECES, token = chunk * CHUNK_TOKENS + place;
            const i32 page = visible.token(token) ? kv.page(sequence, token, PAGE_TOKENS) : -1;
            const u8* from = kv.arena;
            if (page >= 0) {
                from += layout.key_offset(page, kv.layer_offset, kv_head, token % PAGE_TOKENS) + (values ? layout.value_bytes() : 0)
                      + piece * 16;
            }
            cp_async_16_or_zero(shared + place * PITCH + piece * 8, from, page >= 0);
        }
    }
};

// One warp's 16 lines. In the mma's layout a thread has parts of two lines: lane / 4, and 8 further.
struct TileLines {
    Run   seen[2];  // besides the tile's sinks, of which it sees those before its end
    float   maximum[2], sum[2];
    float   o[HEAD_DIM / 8][4];

    __device__ __forceinline__ void reset() {
#pragma unroll
        for (i32 half = 0; half < 2; half++) {
            seen[half] = Run{0, 0};
            maximum[half] = NOTHING_SEEN;
            sum[half] = 0;
        }
#pragma unroll
        for (i32 n = 0; n < HEAD_DIM / 8; n++) {
#pragma unroll
            for (i32 i = 0; i < 4; i++) {
                o[n][i] = 0;
            }
        }
    }

    // s = q K^T for the chunk's 128 tokens.
    __device__ __forceinline__ void scores(float (&s)[CHUNK_TOKENS / 8][4], const KV* q, const KV* keys) const {
        const i32 lane = threadIdx.x % 32;
#pragma unroll
        for (i32 n = 0; n < CHUNK_TOKENS / 8; n++) {
#pragma unroll
            for (i32 i = 0; i < 4; i++) {
                s[n][i] = 0;
            }
        }
#pragma unroll (HEAD_DIM > (STREAMS ? 112 : 64) ? 1 : 2)
        for (i32 d = 0; d < HEAD_DIM; d += 16) {
            u32 a[4];
            ldmatrix_x4(a, q + (lane % 16) * PITCH + d + lane / 16 * 8);
#pragma unroll
            for (i32 n = 0; n < CHUNK_TOKENS / 8; n += 2) {
                u32 b[4];
                ldmatrix_x4(b, keys + (n * 8 + lane % 8 + lane / 16 * 8) * PITCH + d + lane / 8 % 2 * 8);
                mma_16816<KV>(s[n], a, {b[0], b[1]});
                mma_16816<KV>(s[n + 1], a, {b[2], b[3]});
            }
        }
    }

    // Scores to weights, in place; returns each line's largest score and sum of weights.
    __device__ __forceinline__ void weights(float (&s)[CHUNK_TOKENS / 8][4], i32 chunk, i32 sinks, float scale, float (&m)[2],
                                            float (&l)[2]) const {
        const i32 first = chunk * CHUNK_TOKENS + threadIdx.x % 4 * 2;
        const bool among = STREAMS && chunk * CHUNK_TOKENS < sinks;
        const Run run[2] = {among ? seen[0].among(sinks) : seen[0], among ? seen[1].among(sinks) : seen[1]};
        const bool all = run[0].all_of(chunk) && run[1].all_of(chunk);
        m[0] = m[1] = NOTHING_SEEN;
#pragma unroll
        for (i32 n = 0; n < CHUNK_TOKENS / 8; n++) {
#pragma unroll
            for (i32 i = 0; i < 4; i++) {
                const i32 token = first + n * 8 + i % 2;
                if constexpr (STREAMS || HEAD_DIM <= 128) {
                    s[n][i] = all || run[i / 2].token(token) ? s[n][i] * scale : NOTHING_SEEN;
                } else {
                    // note: the same, but no difference of start and end is kept: at head dim 256 that is the last register.
                    const float score = all || token < run[i / 2].end ? s[n][i] * scale : NOTHING_SEEN;
                    s[n][i] = all || token >= run[i / 2].start ? score : NOTHING_SEEN;
                }
                m[i / 2] = fmaxf(m[i / 2], s[n][i]);
            }
        }
        m[0] = warp_max<4>(m[0]);
        m[1] = warp_max<4>(m[1]);
        l[0] = l[1] = 0;
#pragma unroll
        for (i32 n = 0; n < CHUNK_TOKENS / 8; n++) {
#pragma unroll
            for (i32 i = 0; i < 4; i++) {
                s[n][i] = ex2(s[n][i] - m[i / 2]);
                l[i / 2] += s[n][i];
            }
        }
        l[0] = warp_sum<4>(l[0]);
        l[1] = warp_sum<4>(l[1]);
    }

    // o = p V for the chunk, merged into O.
    __device__ __forceinline__ void values(const float (&s)[CHUNK_TOKENS / 8][4], const KV* values, const float (&m)[2], const float (&l)[2]) {
        const i32 lane = threadIdx.x % 32;
        const Merge<true> low(maximum[0], sum[0], m[0], l[0]), high(maximum[1], sum[1], m[1], l[1]);
        u32 p[CHUNK_TOKENS / 16][4];
#pragma unroll
        for (i32 k = 0; k < CHUNK_TOKENS / 16; k++) {
#pragma unroll
            for (i32 i = 0; i < 4; i++) {
                p[k][i] = pack2<KV>(s[2 * k + i / 2][i % 2 * 2], s[2 * k + i / 2][i % 2 * 2 + 1]);
            }
        }
#pragma unroll
        for (i32 slice = 0; slice < HEAD_DIM; slice += SLICE) {
            float chunk_o[SLICE / 8][4] = {};
#pragma unroll
            for (i32 k = 0; k < CHUNK_TOKENS / 16; k++) {
#pragma unroll
                for (i32 d = 0; d < SLICE; d += 16) {
                    u32 b[4];
                    ldmatrix_x4_trans(b, values + (k * 16 + lane % 16) * PITCH + slice + d + lane / 16 * 8);
                    mma_16816<KV>(chunk_o[d / 8], p[k], {b[0], b[1]});
                    mma_16816<KV>(chunk_o[d / 8 + 1], p[k], {b[2], b[3]});
                }
            }
#pragma unroll
            for (i32 n = 0; n < SLICE / 8; n++) {
#pragma unroll
                for (i32 i = 0; i < 4; i++) {
                    float& merged = o[slice / 8 + n][i];
                    merged = i < 2 ? low(merged, chunk_o[n][i]) : high(merged, chunk_o[n][i]);
                }
            }
        }
    }

    // This thread's part of a line (the first or the second of its two), times scale.
    __device__ __forceinline__ void store(float* y, i32 half, float scale) const {
#pragma unroll
        for (i32 n = 0; n < HEAD_DIM / 8; n++) {
            *(float2*)(y + n * 8 + threadIdx.x % 4 * 2) = make_float2(o[n][2 * half] * scale, o[n][2 * half + 1] * scale);
        }
    }
};

// The tile's queries: line n is head n % HEADS of row n / HEADS, rows are `stride` numbers apart.
struct TileQueries {
    const float* q;
    i32          stride, lines;

    // To shared memory as KV, zero beyond `lines`.
    template <i32 Threads, i32 Unroll = 4> __device__ __forceinline__ void stage(KV* shared) const {
#pragma unroll Unroll
        for (i32 i = threadIdx.x; i < Threads / 2 * HEAD_DIM / 2; i += Threads) {
            const i32 line = i / (HEAD_DIM / 2), d = i % (HEAD_DIM / 2) * 2;
            u32 pair = 0;
            if (line < lines) {
                const float2 numbers = *(const float2*)(q + (i64)(line / HEADS) * stride + line % HEADS * HEAD_DIM + d);
                pair = pack2<KV>(numbers.x, numbers.y);
            }
            *(u32*)(shared + line * PITCH + d) = pair;
        }
    }
};

// Barrier of the threads that share a tile's keys and values.
template <i32 Threads> __device__ __forceinline__ void tile_barrier() {
    if constexpr (Threads == 32) {
        __syncwarp();
    } else {
        __syncthreads();
    }
}

// All chunks from `chunk` up to `past` that the tile sees; with One it is known to be one. q, keys and values are the block's
// shared memory; q holds the queries that the first chunk needs. After sinks, `queries` are staged.
template <i32 Threads, bool One>
__device__ __forceinline__ void attend_chunks(TileLines& lines, const TileTokens& tokens, const TileQueries& queries, KV* q, KV* keys,
                                              KV* values, i32 chunk, i32 past, float scale) {
    if constexpr (!One) {
        chunk = tokens.next(chunk);
        if (chunk >= past) {
            return;
        }
    }
    tokens.copy<Threads>(keys, chunk, false);
    cp_async_commit();
    tokens.copy<Threads>(values, chunk, true);
    cp_async_commit();
    const KV* own_q = q + threadIdx.x / 32 * LINES * PITCH;
    do {
        const i32 next = One ? past : tokens.next(chunk + 1);
        // note: a group is committed even where there is no next chunk, so that "all but the latest" is always this one's.
        cp_async_wait<1>();
        tile_barrier<Threads>();
        float s[CHUNK_TOKENS / 8][4];
        lines.scores(s, own_q, keys);
        tile_barrier<Threads>();
        if (!One && next < past) {
            tokens.copy<Threads>(keys, next, false);
        }
        cp_async_commit();
        float m[2], l[2];
        lines.weights(s, chunk, tokens.visible.sinks, scale, m, l);
        cp_async_wait<1>();
        tile_barrier<Threads>();
        lines.values(s, values, m, l);
        tile_barrier<Threads>();
        if (!One && next < past) {
            tokens.copy<Threads>(values, next, true);
        }
        cp_async_commit();
        if (STREAMS && !One && chunk < tokens.visible.sink_chunks() && next >= tokens.visible.sink_chunks()) {
            queries.stage<Threads, 2>(q);  // everyone is past the sinks' scores; note: o is in registers, so few are left
        }
        chunk = next;
    } while (!One && chunk < past);
    cp_async_wait<0>();
}
