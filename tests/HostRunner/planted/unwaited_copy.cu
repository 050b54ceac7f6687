// The thread ends while its copies are under way.
//: launch blocks=1 threads=32 shared=512
//: buffer 128 none
//: buffer 512 ramp
//: caught 719 that it never waited for
#include "shared/ptx.cuh"
struct Args { float* y; const float* x; };
extern "C" __global__ void unwaited_copy(const __grid_constant__ Args args) {
    SMEM_DYN(smem);
    cp_async_16(smem + 16 * threadIdx.x, args.x + 4 * threadIdx.x);
    cp_async_commit();
#ifndef BUG
    cp_async_wait<0>();
#endif
    args.y[threadIdx.x] = 1;
}
SIMT_KERNEL(unwaited_copy);
