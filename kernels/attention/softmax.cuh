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

// Part of the argument structs: AttentionMask and StreamRows of src/KvCuda/Tensors.
struct MaskArgs {
    float        scale;
    i32          window;            // W > 0: positions above p - W only
    i32          strictly_earlier;  // 1: positions below p only
    i32          unused;
    const int2*  spans;             // (rows): sinks and window of a row that slides, 0 and 0 of others; with STREAMS
    const float* sink_q;            // (rows, heads * HEAD_DIM): the queries towards sinks; with STREAMS
};

// Positions [start, end).
struct Run {
    i32 start, end;

    __device__ __forceinline__ bool token(i32 t) const { return t >= start && t < end; }

    __device__ __forceinline__ bool any_of(i32 chunk) const {
        const i32 first = chunk * CHUNK_TOKENS;
        return max(first, start) < min(first + CHUNK_TOKENS, end);
    }

    __device__ __forceinline__ bool all_of(i32 chunk) const {
        const i32 first = chunk * CHUNK_TOKENS;
        return first >= start && first + CHUNK_TOKENS <= end;
    }

    // What there is of it in a chunk of the sinks [0, sinks).
    __device__ __forceinline__ Run among(i32 sinks) const { return {0, min(end, sinks)}; }
};

// The positions that a row sees: [0, sinks) and [start, end). Sinks have their chunks to themselves.
struct Visible : Run {
    i32 sinks;

    __device__ __forceinline__ Visible() : Run{0, 0}, sinks(0) {}

    __device__ __forceinline__ Visible(const MaskArgs& mask, i32 row, i32 position) : sinks(0) {
        end = position + (mask.strictly_earlier ? 0 : 1);
        i32 window = mask.window;
        if (STREAMS) {
            const int2 span = mask.spans[row];
            if (span.y > 0) {
                const bool whole = window == 0 || window >= span.x + span.y;  // the layer's own window masks nothing of the cache
                sinks = whole ? span.x : 0;
                window = whole ? span.y : min(window, span.y);
            }
        }
        start = window > 0 ? max(0, position + 1 - window) : 0;
    }

    // Chunks of sinks: the first so many, whose scores are those of sink_q.
    __device__ __forceinline__ i32 sink_chunks() const { return STREAMS ? (sinks + CHUNK_TOKENS - 1) / CHUNK_TOKENS : 0; }

    __device__ __forceinline__ bool token(i32 t) const { return Run::token(t) || (STREAMS && t < sinks); }

    __device__ __forceinline__ bool any_of(i32 chunk) const { return Run::any_of(chunk) || (STREAMS && chunk * CHUNK_TOKENS < sinks); }

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
