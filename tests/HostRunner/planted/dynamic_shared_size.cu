// The launch asks for 256 bytes of dynamic shared memory, the kernel uses four more.
//: launch blocks=1 threads=64 shared=256
//: buffer 256 none
//: caught 700 past the end of the launch's 256 bytes
#include "shared/types.cuh"
struct Args { float* y; };
extern "C" __global__ void dynamic_shared_size(const __grid_constant__ Args args) {
    SMEM_DYN(smem);
    float* tile = (float*)smem;
#ifdef BUG
    int at = threadIdx.x + 1;
#else
    int at = threadIdx.x;
#endif
    tile[at] = 1; // <-
    args.y[threadIdx.x] = tile[at];
}
SIMT_KERNEL(dynamic_shared_size);
