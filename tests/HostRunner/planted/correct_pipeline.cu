// No bug: a ring of three stages, each thread reads what others copied.
//: launch blocks=4 threads=64 shared=3072
//: buffer 1024 none
//: buffer 32768 ramp
#include "shared/ptx.cuh"
struct Args { float* y; const float* x; };
extern "C" __global__ void correct_pipeline(const __grid_constant__ Args args) {
    SMEM_DYN(smem);
    const float* x = args.x + blockIdx.x * 2048 + 4 * threadIdx.x;
    float sum = 0;
    for (int stage = 0; stage < 2; stage++) {
        cp_async_16(smem + 1024 * stage + 16 * threadIdx.x, x + 256 * stage);
        cp_async_commit();
    }
    for (int tile = 0; tile < 8; tile++) {
        cp_async_wait<1>();
        __syncthreads();
        if (tile + 2 < 8) {
            cp_async_16(smem + 1024 * ((tile + 2) % 3) + 16 * threadIdx.x, x + 256 * (tile + 2));
        }
        cp_async_commit();
        sum += ((const float*)(smem + 1024 * (tile % 3)))[4 * (63 - threadIdx.x)];
    }
    cp_async_wait<0>();
    args.y[blockIdx.x * 64 + threadIdx.x] = sum;
}
SIMT_KERNEL(correct_pipeline);
