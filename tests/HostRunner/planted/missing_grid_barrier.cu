// A cooperative kernel's second pass overwrites what other blocks still read.
//: launch blocks=4 threads=64 cooperative=1
//: buffer 1024 none
//: buffer 4 zero
//: caught 719 no grid barrier between
#include "shared/grid.cuh"
struct Args { float* y; u32* counter; };
extern "C" __global__ void missing_grid_barrier(const __grid_constant__ Args args) {
    int count = gridDim.x * blockDim.x, i = blockIdx.x * blockDim.x + threadIdx.x;
    for (int pass = 0; pass < 3; pass++) {
        args.y[i] = (float)(i + pass);
        grid_barrier(args.counter);
        float v = args.y[(i + 64) % count];
#ifndef BUG
        grid_barrier(args.counter);
#endif
        args.y[i] = v;
        grid_barrier(args.counter);
    }
}
SIMT_KERNEL(missing_grid_barrier);
