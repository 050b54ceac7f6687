// attend_exact: y[r,h] = softmax(scale * q[r,h] . K^T) . V over the tokens that row r sees, all in f32: any head dim, any KV type
//               (Vaswani et al. 2017, eq. 1; grouped queries: Ainslie et al. 2023; chunks and merging: softmax.cuh)
//
//   y, q   : (rows, heads * HEAD_DIM) f32      K, V : pages of KV
//   launch : 128 threads per (row, HEADS query heads of one kv head): (heads / HEADS, rows) blocks;
//            with SPLIT: (heads / HEADS, rows, chunks) blocks, one chunk each, merged by merge_splits
//   order  : score = one fused multiply-add per dimension in rising order, in one thread per token; m and l by block_max and
//            block_sum; o = one fused multiply-add per token in rising order, in one thread per (head, dimension)
//   moves  : 2 * HEAD_DIM * sizeof(KV) bytes per visible token and kv head, times ceil(group / HEADS)
#include "attention/softmax.cuh"
#include "shared/kv_layout.cuh"
#include "shared/warp.cuh"

struct AttendExactArgs {
    KvPages      kv;
    MaskArgs     mask;
    Partials     partials;   // with SPLIT
    float*       y;          // (rows, heads * HEAD_DIM), without SPLIT
    const float* q;          // (rows, heads * HEAD_DIM)
    const i32*   positions;  // (rows)
    const i32*   sequences;  // (rows)
    i32          heads;
    i32          kv_heads;
};

constexpr i32 THREADS = CHUNK_TOKENS;
constexpr i32 SLAB = HEAD_DIM < 32 ? HEAD_DIM : 32;                      // dimensions of K in shared memory at a time
constexpr i32 BLOCKS = HEADS * HEAD_DIM <= 512 ? 5 : 4;  // per SM: with registers for more of them the heads would spill
constexpr i32 SUMS = (HEADS * HEAD_DIM + THREADS - 1) / THREADS;        // numbers of o per thread

struct Shared {
    float     q[HEADS][HEAD_DIM];
    float     keys[CHUNK_TOKENS][SLAB + 1];  // note: the odd row length keeps 32 tokens on 32 banks
    float     weights[HEADS][CHUNK_TOKENS];
    float     keep[HEADS], take[HEADS], scale[HEADS];
    const KV* token[CHUNK_TOKENS];           // each token's key; null where the row does not see it
};

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
attend_exact(const __grid_constant__ AttendExactArgs args) {
    __shared__ Shared shared;
    const i32 thread = threadIdx.x, row = blockIdx.y, first_head = blockIdx.x * HEADS;
    const i32 kv_head = first_head / (args.heads / args.kv_heads);
    const i32 sequence = args.sequences[row];
    const KvLayout layout{PAGE_TOKENS, args.kv_heads, HEAD_DIM, 8 * sizeof(KV)};
    const Visible visible = sequence < 0 ? Visible() : Visible(args.mask, row, args.positions[row]);

    const i64 row_start = ((i64)row * args.heads + first_head) * HEAD_DIM;
    bool sinks_first = (SPLIT ? (i32)blockIdx.z : 0) < visible.sink_chunks();
    const float* queries = STREAMS && sinks_first ? args.mask.sink_q : args.q;
    for (i32 i = thread; i < HEADS * HEAD_DIM; i += THREADS) {
        shared.q[i / HEAD_DIM][i % HEAD_DIM] = queries[row_start + i];
    }

    float maximum[HEADS], sum[HEADS], o[SUMS];
#pragma unroll
    for (i32 h = 0; h < HEADS; h++) {
        maximum[h] = NOTHING_SEEN;
        sum[h] = 0;
    }
#pragma unroll
    for (i32 n = 0; n < SUMS; n++) {
        o[n] = 0;
    }

    const i32 first_chunk = SPLIT ? blockIdx.z : 0, past_chunk = SPLIT ? (i32)blockIdx.z + 1 : visible.chunks();
    for (i32 chunk = first_chunk; chunk < past_chunk; chunk++) {
        if (!visible.any_of(chunk)) {
            continue;
        }
        if (STREAMS && !SPLIT && chunk >= visible.sink_chunks() && sinks_first) {
            sinks_first = false;
            for (i32 i = thread; i < HEADS * HEAD_DIM; i += THREADS) {
                shared.q[i / HEAD_DIM][i % HEAD_DIM] = args.q[row_start + i];
            }
        }
        const i32 token = chunk * CHUNK_TOKENS + thread;
        const KV* key = nullptr;
        if (visible.token(token)) {
            const i32 page = args.kv.page(sequence, token, PAGE_TOKENS);
            key = (const KV*)(args.kv.arena + layout.key_offset(page, args.kv.layer_offset, kv_head, token % PAGE_TOKENS));
        }
        shared.token[thread] = key;

        // Scores: thread t has token t.
        float scores[HEADS] = {};
        for (i32 slab = 0; slab < HEAD_DIM; slab += SLAB) {
            __syncthreads();
            const i32 width = min(SLAB, HEAD_DIM - slab);
            for (i32 i = thread; i < CHUNK_TOKENS * width; i += THREADS) {
                const KV* from = shared.token[i / width];
                if (from != nullptr) {
                    shared.keys[i / width][i % width] = to_f32(from[slab + i % width]);
                }
            }
            __syncthreads();
            if (key != nullptr) {
#pragma unroll 4
                for (i32 d = 0; d < width; d++) {
                    const float number = shared.keys[thread][d];
#pragma unroll
                    for (i32 h = 0; h < HEADS; h++) {
                        scores[h] = fmaf(shared.q[h][slab + d], number, scores[h]);
                    }
                }
            }
        }

        // Weights, their sum, and the factors with which o will be merged.
#pragma unroll
        for (i32 h = 0; h < HEADS; h++) {
            const float score = key != nullptr ? args.mask.scale * scores[h] : NOTHING_SEEN;
            const float largest = block_max<THREADS / 32>(score);
            const float weight = key != nullptr ? expf(score - largest) : 0.0f;
            const Merge<false> merge(maximum[h], sum[h], largest, block_sum<THREADS / 32>(weight));
            shared.weights[h][thread] = weight;
            if (thread == 0) {
                shared.keep[h] = merge.keep;
                shared.take[h] = merge.take;
            }
        }
        __syncthreads();

        // Values: thread t has numbers t, t + THREADS, ... of the heads' o.
#pragma unroll
        for (i32 n = 0; n < SUMS; n++) {
            const i32 i = n * THREADS + thread, head = i / HEAD_DIM, d = i % HEAD_DIM;
            if (i < HEADS * HEAD_DIM) {
                float chunk_o = 0;
#pragma unroll 4
                for (i32 t = 0; t < CHUNK_TOKENS; t++) {
                    if (shared.token[t] != nullptr) {
                        const KV* value = (const KV*)((const u8*)shared.token[t] + layout.value_bytes());
                        chunk_o = fmaf(shared.weights[head][t], to_f32(value[d]), chunk_o);
                    }
                }
                o[n] = fmaf(chunk_o, shared.take[head], o[n] * shared.keep[head]);
            }
        }
        __syncthreads();
    }

    if (thread == 0) {
#pragma unroll
        for (i32 h = 0; h < HEADS; h++) {
            shared.scale[h] = reciprocal_sum(sum[h]);
            if (SPLIT && visible.any_of(first_chunk)) {
                args.partials.m_l[args.partials.place(row, args.heads, first_head + h, first_chunk)] = make_float2(maximum[h], sum[h]);
            }
        }
    }
    __syncthreads();
#pragma unroll
    for (i32 n = 0; n < SUMS; n++) {
        const i32 i = n * THREADS + thread, head = i / HEAD_DIM, d = i % HEAD_DIM;
        if (i < HEADS * HEAD_DIM) {
            if (!SPLIT) {
                args.y[row_start + i] = o[n] * shared.scale[head];
            } else if (visible.any_of(first_chunk)) {
                args.partials.o[args.partials.place(row, args.heads, first_head + head, first_chunk) * HEAD_DIM + d] = o[n];
            }
        }
    }
}
SIMT_KERNEL(attend_exact);
