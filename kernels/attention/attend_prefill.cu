// attend_prefill: y[r,h] = softmax(scale * q[r,h] . K^T) . V over the tokens that row r sees, many rows per tile, on tensor cores
//                 (Dao 2023, "FlashAttention-2"; grouped queries packed as lines; order: attend_tile.cuh, the same bits as
//                 attend_decode_split)
//
//   y, q   : (rows, heads * HEAD_DIM) f32      K, V : pages of KV (f16 or bf16), HEAD_DIM a multiple of 16
//   launch : TILE_ROWS rows of HEADS lines per block, 16 lines per warp: (ceil(rows / TILE_ROWS), heads / HEADS) blocks; rows
//            that see much are at the end of a prompt, so the last tiles start first. With TILE_ROWS = 1 it also serves the
//            decode steps of large batches, which fill the device without splitting.
//   shared : the chunk's keys and values and the lines' q: (512 + THREADS) * (HEAD_DIM + 8) bytes
//   moves  : 4 * HEAD_DIM bytes per visible token, kv head and tile, from L2
//   A tile whose rows belong to several sequences takes them one after another: rows of the others are masked meanwhile.
#include "attention/attend_tile.cuh"

struct AttendPrefillArgs {
    KvPages      kv;
    MaskArgs     mask;
    float*       y;          // (rows, heads * HEAD_DIM)
    const float* q;          // (rows, heads * HEAD_DIM)
    const i32*   positions;  // (rows)
    const i32*   sequences;  // (rows)
    i32          rows;
    i32          heads;
    i32          kv_heads;
    i32          unused;
};

static_assert(TILE_ROWS * HEADS <= THREADS / 2, "a warp has 16 lines");

extern "C" __global__ void __launch_bounds__(THREADS)
attend_prefill(const __grid_constant__ AttendPrefillArgs args) {
    SMEM_DYN(shared);
    KV* keys = (KV*)shared;
    KV* values = keys + CHUNK_TOKENS * PITCH;
    KV* q = values + CHUNK_TOKENS * PITCH;
    const i32 lane = threadIdx.x % 32, warp = threadIdx.x / 32, first_head = blockIdx.y * HEADS;
    const i32 first_row = (gridDim.x - 1 - blockIdx.x) * TILE_ROWS;
    const i32 rows = min(TILE_ROWS, args.rows - first_row);

    const i64 first_line = ((i64)first_row * args.heads + first_head) * HEAD_DIM;
    TileQueries{args.q + first_line, args.heads * HEAD_DIM, rows * HEADS}.stage<THREADS>(q);

    TileLines lines;
    lines.reset();
    // The tile's rows, run by run of equal sequence.
    for (i32 run = 0; run < rows;) {
        const i32 sequence = args.sequences[first_row + run];
        Visible together(args.mask, first_row + run, args.positions[first_row + run]);
        i32 past = run + 1;
        for (; past < rows && args.sequences[first_row + past] == sequence; past++) {
            const Visible other(args.mask, first_row + past, args.positions[first_row + past]);
            together.sinks = max(together.sinks, other.sinks);
            together.start = min(together.start, other.start);
            together.end = max(together.end, other.end);
        }
        if (sequence >= 0) {
#pragma unroll
            for (i32 half = 0; half < 2; half++) {
                const i32 line = warp * LINES + lane / 4 + half * 8, row = line / HEADS;
                lines.seen[half] = row >= run && row < past ? Visible(args.mask, first_row + row, args.positions[first_row + row]) : Visible();
            }
            const TileTokens tokens{args.kv, together, sequence, first_head / (args.heads / args.kv_heads), args.kv_heads};
            const TileQueries queries{args.q + first_line, args.heads * HEAD_DIM, rows * HEADS};
            if (together.sink_chunks() > 0) {
                // Sinks come first; attend_chunks goes back to the ordinary queries after them.
                TileQueries{args.mask.sink_q + first_line, args.heads * HEAD_DIM, rows * HEADS}.stage<THREADS, 1>(q);
            }
            attend_chunks<THREADS, false>(lines, tokens, queries, q, keys, values, 0, together.chunks(), args.mask.scale * LOG2_E);
        }
        run = past;
    }

#pragma unroll
    for (i32 half = 0; half < 2; half++) {
        const i32 line = warp * LINES + lane / 4 + half * 8;
        if (line < rows * HEADS) {
            float* y = args.y + ((i64)(first_row + line / HEADS) * args.heads + first_head + line % HEADS) * HEAD_DIM;
            lines.store(y, half, reciprocal_sum(lines.sum[half]));
        }
    }
}
SIMT_KERNEL(attend_prefill);
