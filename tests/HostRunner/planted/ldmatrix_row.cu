// ldmatrix takes rows of 16 aligned bytes.
//: launch blocks=1 threads=32 shared=1024
//: buffer 512 none
//: caught 716 ldmatrix
#include "shared/ptx.cuh"
struct Args { u32* y; };
extern "C" __global__ void ldmatrix_row(const __grid_constant__ Args args) {
    SMEM_DYN(smem);
    for (int i = threadIdx.x; i < 256; i += 32) ((u32*)smem)[i] = i;
    __syncwarp();
    u32 r[4];
#ifdef BUG
    ldmatrix_x4(r, smem + 24 * threadIdx.x); // <-
#else
    ldmatrix_x4(r, smem + 16 * threadIdx.x);
#endif
    for (int i = 0; i < 4; i++) args.y[4 * threadIdx.x + i] = r[i];
}
SIMT_KERNEL(ldmatrix_row);
