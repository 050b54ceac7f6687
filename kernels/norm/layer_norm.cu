// layer_norm: y[r,:] = (x[r,:] - mean) * rsqrt(variance + epsilon) * weight + bias          (Ba et al. 2016)
//
//   y, x   : (rows, dim) f32, y may be x      weight, bias : (1, dim) WEIGHT
//   launch : one block of THREADS threads per row
//   order  : thread t adds elements t, t + THREADS, ...; then warp.cuh's block_sum; the mean first, then the variance
//            around it, because the difference of two large sums would lose what is left
//   moves  : 8 * dim bytes per row (weight and bias stay in L2, the later reads of x in L1)
#include "shared/numeric.cuh"
#include "shared/warp.cuh"

struct LayerNormArgs {
    float*        y;       // (rows, dim)
    const float*  x;       // (rows, dim)
    const WEIGHT* weight;  // (1, dim)
    const WEIGHT* bias;    // (1, dim)
    i32           dim;
    float         epsilon;
};

extern "C" __global__ void __launch_bounds__(THREADS)
layer_norm(const __grid_constant__ LayerNormArgs args) {
    const float* x = args.x + (i64)blockIdx.x * args.dim;
    float* y = args.y + (i64)blockIdx.x * args.dim;

    float sum = 0;
    for (i32 i = threadIdx.x; i < args.dim; i += THREADS) {
        sum += x[i];
    }
    const float mean = block_sum<THREADS / 32>(sum) / (float)args.dim;

    float square = 0;
    for (i32 i = threadIdx.x; i < args.dim; i += THREADS) {
        square = fmaf(x[i] - mean, x[i] - mean, square);
    }
    const float variance = block_sum<THREADS / 32>(square) / (float)args.dim;

    const float scale = 1.0f / sqrtf(variance + args.epsilon);
    for (i32 i = threadIdx.x; i < args.dim; i += THREADS) {
        y[i] = fmaf((x[i] - mean) * scale, to_f32(args.weight[i]), to_f32(args.bias[i]));
    }
}
SIMT_KERNEL(layer_norm);
