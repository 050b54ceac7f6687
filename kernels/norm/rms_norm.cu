// rms_norm: y[r,:] = x[r,:] * rsqrt(mean(x[r,:]^2) + epsilon) * weight          (Zhang and Sennrich 2019, eq. 4)
//
//   y, x   : (rows, dim) f32, y may be x      weight : (1, dim) WEIGHT
//   launch : one block of THREADS threads per row: a decode step has few rows, and each should finish soon
//   order  : thread t adds elements t, t + THREADS, ...; then warp.cuh's block_sum
//   moves  : 8 * dim bytes per row (weight stays in L2, the second read of x in L1)
#include "shared/numeric.cuh"
#include "shared/warp.cuh"

struct RmsNormArgs {
    float*        y;       // (rows, dim)
    const float*  x;       // (rows, dim)
    const WEIGHT* weight;  // (1, dim)
    i32           dim;
    float         epsilon;
};

extern "C" __global__ void __launch_bounds__(THREADS)
rms_norm(const __grid_constant__ RmsNormArgs args) {
    grid_dependency_launch();
    grid_dependency_wait();
    const float* x = args.x + (i64)blockIdx.x * args.dim;
    float* y = args.y + (i64)blockIdx.x * args.dim;

    float squares = 0;
    for (i32 i = threadIdx.x; i < args.dim; i += THREADS) {
        squares = fmaf(x[i], x[i], squares);
    }
    squares = block_sum<THREADS / 32>(squares);

    const float scale = 1.0f / sqrtf(squares / (float)args.dim + args.epsilon);
    for (i32 i = threadIdx.x; i < args.dim; i += THREADS) {
        y[i] = x[i] * scale * to_f32(args.weight[i]);
    }
}
SIMT_KERNEL(rms_norm);
