// An asynchronous copy of 16 bytes from an address that is a multiple of 4 only.
//: launch blocks=1 threads=16 shared=256
//: buffer 64 none
//: buffer 512 ramp
//: caught 716 both must be aligned
#include "shared/ptx.cuh"
struct Args { float* y; const float* x; };
extern "C" __global__ void misaligned_copy(const __grid_constant__ Args args) {
    SMEM_DYN(smem);
#ifdef BUG
    const float* x = args.x + 1;
#else
    const float* x = args.x + 4;
#endif
    cp_async_16(smem + 16 * threadIdx.x, x + 4 * threadIdx.x); // <-
    cp_async_commit();
    cp_async_wait<0>();
    args.y[threadIdx.x] = *(const float*)(smem + 16 * threadIdx.x);
}
SIMT_KERNEL(misaligned_copy);
