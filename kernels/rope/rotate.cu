// rotate: (x[i], x[i+p]) = (x[i] cos_i - x[i+p] sin_i, x[i+p] cos_i + x[i] sin_i) for i < p, in each head of each row
//         (Su et al. 2021, in the half-split form of Hugging Face's Llama; dimensions from 2p on stay as they are)
//
//   x      : (rows, heads * head_dim) f32, in place      cos_sin : (rows, 2 * pairs) f32
//   launch : (rows, ceil(heads * pairs / THREADS)) blocks, one thread per pair
//   moves  : 16 * heads * pairs bytes per row
#include "shared/numeric.cuh"

struct RotateArgs {
    float*       x;        // (rows, heads * head_dim)
    const float* cos_sin;  // (rows, 2 * pairs)
    i32          heads;
    i32          head_dim;
    i32          pairs;
};

extern "C" __global__ void __launch_bounds__(THREADS)
rotate(const __grid_constant__ RotateArgs args) {
    const i32 row = blockIdx.x;
    const i32 pair = blockIdx.y * THREADS + threadIdx.x;
    if (pair >= args.heads * args.pairs) {
        return;
    }
    const i32 head = pair / args.pairs, i = pair % args.pairs;
    const float cosine = args.cos_sin[(i64)row * 2 * args.pairs + i];
    const float sine = args.cos_sin[(i64)row * 2 * args.pairs + args.pairs + i];
    float* x = args.x + ((i64)row * args.heads + head) * args.head_dim;
    const float low = x[i], high = x[i + args.pairs];
    x[i] = fmaf(low, cosine, -(high * sine));
    x[i + args.pairs] = fmaf(high, cosine, low * sine);
}
SIMT_KERNEL(rotate);
