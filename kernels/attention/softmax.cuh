// What a row may see, and softmax by chunks: the rules that all attention kernels share.
//
// A row's visible tokens are cut into chunks of 128 tokens aligned to token positions. A chunk gives its largest score m, the
// sum l of its weights exp(s - m), and o = sum of weight times value. Chunks are merged in token order with the online softmax
// (Milakov and Gimelshein 2018):
//     M' = max(M, m)      L' = L e^(M - M') + l e^(m - M')      O' = O e^(M - M') + o e^(m - M')      y = O / L
// A chunk in which a row sees nothing leaves the row's M, L and O as they are, so a row's bits depend neither on its batch
// mates nor on who merged: the block that made the chunks, or merge_splits.
#pragma once
#include "shared/numeric.cuh"

constexpr i32 CHUNK_TOKENS = 128;
constexpr float NOTHING_SEEN = -3.402823466e38f;  // M of a row that has seen no token: finite, so that differences stay numbers
constexpr float LOG2_E = 1.44269504f;

// Part of the argument structs: AttentionMask of Batch.cs.
struct MaskArgs {
    float scale;
    i32   window;            // W > 0: positions above p - W only
    i32   strictly_earlier;  // 1: positions below p only
    i32   sinks;             // with a window: the first so many positions as well
};

// The positions that a row sees: [0, sinks) and [start, end).
struct Visible {
    i32 sinks, start, end;

    __device__ __forceinline__ Visible() : sinks(0), start(0), end(0) {}

    __device__ __forceinline__ Visible(const MaskArgs& mask, i32 position) {
        end = position + (mask.strictly_earlier ? 0 : 1);
        start = mask.window > 0 ? max(0, position + 1 - mask.window) : 0;
        sinks = min(mask.sinks, min(start, end));
    }

    __device__ __forceinline__ bool token(i32 t) const { return t < end && (t >= start || t < sinks); }

    __device__ __forceinline__ bool any_of(i32 chunk) const {
        const i32 first = chunk * CHUNK_TOKENS, past = first + CHUNK_TOKENS;
        return first < sinks || max(first, start) < min(past, end);
    }

    __device__ __forceinline__ bool all_of(i32 chunk) const {
        const i32 first = chunk * CHUNK_TOKENS, past = first + CHUNK_TOKENS;
        return past <= sinks || (first >= start && past <= end);
    }

    __device__ __forceinline__ i32 chunks() const { return (end + CHUNK_TOKENS - 1) / CHUNK_TOKENS; }
};

// The factors of one merge. Base2: scores were multiplied by log2(e), and exponentials are ex2's.
template <bool Base2> struct Merge {
    float keep, take;
    bool  seen;

    __device__ __forceinline__ Merge(float& maximum, float& sum, float chunk_maximum, float chunk_sum)
        : keep(1), take(0), seen(chunk_maximum > NOTHING_SEEN) {
        if (seen) {
            const float merged = fmaxf(maximum, chunk_maximum);
            keep = Base2 ? ex2(maximum - merged) : expf(maximum - merged);
            take = Base2 ? ex2(chunk_maximum - merged) : expf(chunk_maximum - merged);
            maximum = merged;
            sum = fmaf(chunk_sum, take, sum * keep);
        }
    }

    __device__ __forceinline__ float operator()(float o, float chunk_o) const {
        return seen ? fmaf(chunk_o, take, o * keep) : o;
    }
};

// 1 / L, or 0 for a row that saw nothing.
__device__ __forceinline__ float reciprocal_sum(float sum) { return sum > 0 ? 1.0f / sum : 0.0f; }

// Where the split kernels leave a chunk's m, l and o for merge_splits.
struct Partials {
    float*  o;     // (rows, heads, chunks, HEAD_DIM)
    float2* m_l;   // (rows, heads, chunks)
    i32     chunks;
    i32     unused;

    __device__ __forceinline__ i64 place(i32 row, i32 heads, i32 head, i32 chunk) const {
        return ((i64)row * heads + head) * chunks + chunk;
    }
};
