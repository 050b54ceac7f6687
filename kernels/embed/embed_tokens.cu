// embed_tokens: x[r,:] = table[index[r],:], or with ADD = 1  x[r,:] += table[index[r],:] (learned positions)
//
//   x      : (rows, dim) f32      table : (vocabulary, dim) TABLE      index : (rows) i32
//   A negative index is a padding row: zeros, or nothing added. An index beyond the table counts as one.
//   launch : (rows, ceil(dim / THREADS)) blocks, one thread per number
//   moves  : dim * (sizeof(TABLE) + 4) bytes per row, and 4 * dim more with ADD
#include "shared/numeric.cuh"

struct EmbedTokensArgs {
    float*       x;      // (rows, dim)
    const TABLE* table;  // (vocabulary, dim)
    const i32*   index;  // (rows)
    i32          dim;
    i32          vocabulary;
};

extern "C" __global__ void __launch_bounds__(THREADS)
embed_tokens(const __grid_constant__ EmbedTokensArgs args) {
    const i32 row = blockIdx.x;
    const i32 i = blockIdx.y * THREADS + threadIdx.x;
    if (i >= args.dim) {
        return;
    }
    const i32 token = args.index[row];
    float value = 0;
    if (token >= 0 && token < args.vocabulary) {
        value = to_f32(args.table[(i64)token * args.dim + i]);
    }
    float* x = args.x + (i64)row * args.dim + i;
    *x = ADD ? *x + value : value;
}
SIMT_KERNEL(embed_tokens);
