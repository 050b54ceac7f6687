// merge_splits: y[r,h] = the chunks of (r, h) merged in token order          (softmax.cuh has the formula)
//
//   y      : (rows, heads * HEAD_DIM) f32      partials : what a split kernel left, one m, l, o per visible chunk
//   launch : one block of THREADS threads per (row, head): (heads, rows) blocks
//   order  : the same merges that a kernel without SPLIT does as it goes, so the bits are the same
//   moves  : 4 * (HEAD_DIM + 2) bytes per visible chunk, row and head, from L2: the partials have just been written
#include "attention/softmax.cuh"

struct MergeSplitsArgs {
    MaskArgs   mask;
    Partials   partials;
    float*     y;          // (rows, heads * HEAD_DIM)
    const i32* positions;  // (rows)
    const i32* sequences;  // (rows)
    i32        heads;
    i32        unused;
};

extern "C" __global__ void __launch_bounds__(THREADS)
merge_splits(const __grid_constant__ MergeSplitsArgs args) {
    const i32 head = blockIdx.x, row = blockIdx.y;
    const Visible visible = args.sequences[row] < 0 ? Visible() : Visible(args.mask, row, args.positions[row]);
    for (i32 d = threadIdx.x; d < HEAD_DIM; d += THREADS) {
        float maximum = NOTHING_SEEN, sum = 0, o = 0;
        for (i32 chunk = 0; chunk < visible.chunks(); chunk++) {
            if (visible.any_of(chunk)) {
                const i64 place = args.partials.place(row, args.heads, head, chunk);
                const float2 m_l = args.partials.m_l[place];
                const Merge<BASE_2> merge(maximum, sum, m_l.x, m_l.y);
                o = merge(o, args.partials.o[place * HEAD_DIM + d]);
            }
        }
        args.y[((i64)row * args.heads + head) * HEAD_DIM + d] = o * reciprocal_sum(sum);
    }
}
SIMT_KERNEL(merge_splits);
