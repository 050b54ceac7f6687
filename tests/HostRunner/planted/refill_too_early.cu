// The next tile is copied over the one that other threads still read.
//: launch blocks=1 threads=64 shared=1024
//: buffer 256 none
//: buffer 4096 ramp
//: caught 719 race in shared memory
#include "shared/ptx.cuh"
struct Args { float* y; const float* x; };
extern "C" __global__ void refill_too_early(const __grid_constant__ Args args) {
    SMEM_DYN(smem);
    float sum = 0;
    for (int tile = 0; tile < 4; tile++) {
        cp_async_16(smem + 16 * threadIdx.x, args.x + 256 * tile + 4 * threadIdx.x);
        cp_async_commit();
        cp_async_wait<0>();
        __syncthreads();
        sum += ((const float*)smem)[4 * (63 - threadIdx.x)];
#ifndef BUG
        __syncthreads();
#endif
    }
    args.y[threadIdx.x] = sum;
}
SIMT_KERNEL(refill_too_early);
