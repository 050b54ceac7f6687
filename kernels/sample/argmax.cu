// argmax: tokens[r] = the lowest token with the largest logits[r,:]: greedy decoding
//
//   tokens : (rows) i32      logits : (rows, vocabulary) f32; NaN never wins, a row of nothing but NaN gives 0
//   launch : one block of THREADS threads per row
//   moves  : 4 * vocabulary bytes per row, from L2: the logits have just been written
#include "sample/argmax.cuh"

struct ArgmaxArgs {
    i32*         tokens;  // (rows)
    const float* logits;  // (rows, vocabulary)
    i32          vocabulary;
    i32          unused;
};

extern "C" __global__ void __launch_bounds__(THREADS)
argmax(const __grid_constant__ ArgmaxArgs args) {
    const i32 row = blockIdx.x;
    const Largest best = block_largest<THREADS / 32>(args.logits + (i64)row * args.vocabulary, args.vocabulary);
    if (threadIdx.x == 0) {
        args.tokens[row] = best.place;
    }
}
SIMT_KERNEL(argmax);
