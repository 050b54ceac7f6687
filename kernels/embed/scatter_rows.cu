// scatter_rows: y[index[r],:] = x[r,:], indices distinct
//
//   y : (targets, dim) f32      x : (rows, dim) f32      index : (rows) i32; outside [0, targets): skipped (padding rows)
//   launch : (rows, ceil(dim / THREADS)) blocks, one thread per number
//   moves  : 8 * dim bytes per row
#include "shared/numeric.cuh"

struct ScatterRowsArgs {
    float*       y;      // (targets, dim)
    const float* x;      // (rows, dim)
    const i32*   index;  // (rows)
    i32          dim;
    i32          targets;
};

extern "C" __global__ void __launch_bounds__(THREADS)
scatter_rows(const __grid_constant__ ScatterRowsArgs args) {
    const i32 row = blockIdx.x;
    const i32 i = blockIdx.y * THREADS + threadIdx.x;
    const i32 target = args.index[row];
    if (i < args.dim && target >= 0 && target < args.targets) {
        args.y[(i64)target * args.dim + i] = args.x[(i64)row * args.dim + i];
    }
}
SIMT_KERNEL(scatter_rows);
