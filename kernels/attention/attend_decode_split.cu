// attend_decode_split: a chunk's part of y[r,h] = softmax(scale * q[r,h] . K^T) . V, one row and chunk per block, on tensor cores
//                      (Dao et al. 2023, "Flash-Decoding"; grouped queries: Ainslie et al. 2023; order: attend_tile.cuh)
//
//   q      : (rows, heads * HEAD_DIM) f32      K, V : pages of KV (f16 or bf16), HEAD_DIM a multiple of 16
//   launch : one warp per (128-token chunk, HEADS heads of one kv head, row): (chunks, heads / HEADS, rows) blocks; merge_splits
//            makes y of the partials. Blocks of chunks that the row does not see end at once.
//   shared : the chunk's keys and values and 16 lines of q: 544 * (HEAD_DIM + 8) bytes
//   moves  : 4 * HEAD_DIM bytes per visible token and kv head, once for the whole group; 4 * (HEAD_DIM + 2) bytes of partials
//            per chunk and head
//   A block is a single warp: it waits for nobody, and as many blocks as shared memory holds (5 at HEAD_DIM 64, 3 at 128) keep
//   200 KB per SM under way. Half of the 16 lines or more are padding; memory, not the mma, is the limit.
#include "attention/attend_tile.cuh"

struct AttendDecodeSplitArgs {
    KvPages      kv;
    MaskArgs     mask;
    Partials     partials;
    const float* q;          // (rows, heads * HEAD_DIM)
    const i32*   positions;  // (rows)
    const i32*   sequences;  // (rows)
    i32          heads;
    i32          kv_heads;
};

extern "C" __global__ void __launch_bounds__(32, HEAD_DIM > 32 ? 1 : 8)
attend_decode_split(const __grid_constant__ AttendDecodeSplitArgs args) {
    SMEM_DYN(shared);
    KV* keys = (KV*)shared;
    KV* values = keys + CHUNK_TOKENS * PITCH;
    KV* q = values + CHUNK_TOKENS * PITCH;
    const i32 lane = threadIdx.x, chunk = blockIdx.x, first_head = blockIdx.y * HEADS, row = blockIdx.z;
    const i32 sequence = args.sequences[row];
    const Visible visible = sequence < 0 ? Visible() : Visible(args.mask, row, args.positions[row]);
    if (!visible.any_of(chunk)) {
        return;
    }
    const float* of_chunk = chunk < visible.sink_chunks() ? args.mask.sink_q : args.q;
    const TileQueries queries{of_chunk + ((i64)row * args.heads + first_head) * HEAD_DIM, 0, HEADS};
    queries.stage<32>(q);

    TileLines lines;
    lines.reset();
    lines.seen[0] = lane / 4 < HEADS ? visible : Visible();
    lines.seen[1] = lane / 4 + 8 < HEADS ? visible : Visible();
    const TileTokens tokens{args.kv, visible, sequence, first_head / (args.heads / args.kv_heads), args.kv_heads};
    attend_chunks<32, true>(lines, tokens, queries, q, keys, values, chunk, chunk + 1, args.mask.scale * LOG2_E);

#pragma unroll
    for (i32 half = 0; half < 2; half++) {
        const i32 line = lane / 4 + half * 8;
        if (line < HEADS) {
            const i64 place = args.partials.place(row, args.heads, first_head + line, chunk);
            lines.store(args.partials.o + place * HEAD_DIM, half, 1.0f);
            if (lane % 4 == 0) {
                args.partials.m_l[place] = make_float2(lines.maximum[half], lines.sum[half]);
            }
        }
    }
}
SIMT_KERNEL(attend_decode_split);
