// An asynchronous copy's destination is read without waiting for it.
//: launch blocks=1 threads=32 shared=512
//: buffer 512 none
//: buffer 512 ramp
//: caught 719 before its wait
#include "shared/ptx.cuh"
struct Args { float* y; const float* x; };
extern "C" __global__ void missing_async_wait(const __grid_constant__ Args args) {
    SMEM_DYN(smem);
    cp_async_16(smem + 16 * threadIdx.x, args.x + 4 * threadIdx.x);
    cp_async_commit();
#ifndef BUG
    cp_async_wait<0>();
#endif
    const float* mine = (const float*)smem + 4 * threadIdx.x;
    for (int i = 0; i < 4; i++) {
        args.y[4 * threadIdx.x + i] = mine[i]; // <-
    }
    cp_async_wait<0>();
}
SIMT_KERNEL(missing_async_wait);
