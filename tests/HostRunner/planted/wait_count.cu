// Two stages under way, and the wait lets one too many stay so.
//: launch blocks=1 threads=32 shared=1024
//: buffer 512 none
//: buffer 2048 ramp
//: caught 719 before its wait
#include "shared/ptx.cuh"
#ifdef BUG
#define PENDING 2
#else
#define PENDING 1
#endif
struct Args { float* y; const float* x; };
extern "C" __global__ void wait_count(const __grid_constant__ Args args) {
    SMEM_DYN(smem);
    u8* mine = smem + 16 * threadIdx.x;
    const float* x = args.x + 4 * threadIdx.x;
    float sum = 0;
    cp_async_16(mine, x);
    cp_async_commit();
    for (int stage = 0; stage < 4; stage++) {
        if (stage + 1 < 4) {
            cp_async_16(mine + 512 * ((stage + 1) % 2), x + 128 * (stage + 1));
        }
        cp_async_commit();
        cp_async_wait<PENDING>();
        sum += *(const float*)(mine + 512 * (stage % 2)); // <-
    }
    cp_async_wait<0>();
    args.y[threadIdx.x] = sum;
}
SIMT_KERNEL(wait_count);
