// gather_rows: y[r,:] = x[index[r],:]
//
//   y : (rows, dim) f32      x : (sources, dim) f32      index : (rows) i32; outside [0, sources): zeros (padding rows)
//   launch : (rows, ceil(dim / THREADS)) blocks, one thread per number
//   moves  : 8 * dim bytes per row
#include "shared/numeric.cuh"

struct GatherRowsArgs {
    float*       y;      // (rows, dim)
    const float* x;      // (sources, dim)
    const i32*   index;  // (rows)
    i32          dim;
    i32          sources;
};

extern "C" __global__ void __launch_bounds__(THREADS)
gather_rows(const __grid_constant__ GatherRowsArgs args) {
    const i32 row = blockIdx.x;
    const i32 i = blockIdx.y * THREADS + threadIdx.x;
    if (i >= args.dim) {
        return;
    }
    const i32 source = args.index[row];
    const bool known = source >= 0 && source < args.sources;
    args.y[(i64)row * args.dim + i] = known ? args.x[(i64)source * args.dim + i] : 0.0f;
}
SIMT_KERNEL(gather_rows);
