// The wait covers the thread's own copies only; what others copied needs a barrier.
//: launch blocks=1 threads=64 shared=1024
//: buffer 256 none
//: buffer 1024 ramp
//: caught 719 asynchronous copy of thread
#include "shared/ptx.cuh"
struct Args { float* y; const float* x; };
extern "C" __global__ void async_without_barrier(const __grid_constant__ Args args) {
    SMEM_DYN(smem);
    cp_async_16(smem + 16 * threadIdx.x, args.x + 4 * threadIdx.x);
    cp_async_commit();
#ifdef BUG
    __syncthreads(); // before the wait: of no use
    cp_async_wait<0>();
#else
    cp_async_wait<0>();
    __syncthreads();
#endif
    args.y[threadIdx.x] = ((const float*)smem)[4 * (63 - threadIdx.x)]; // <-
}
SIMT_KERNEL(async_without_barrier);
