// A barrier over all blocks of a cooperative launch.
#pragma once
#include "shared/ptx.cuh"

// Every thread of every block calls it. `counter` starts at zero and is never reset: the additions of one barrier sum to
// 2^31 (block 0 brings what the others leave), so each barrier flips the top bit, and the flip is what is waited for.
__device__ inline void grid_barrier(u32* counter)
{
    __syncthreads();
    if (threadIdx.x == 0) {
        const u32 blocks = gridDim.x * gridDim.y * gridDim.z;
        const bool first = blockIdx.x == 0 && blockIdx.y == 0 && blockIdx.z == 0;
        const u32 before = atom_add_acq_rel(counter, first ? 0x80000000u - (blocks - 1) : 1u);
        while (((ld_acquire(counter) ^ before) & 0x80000000u) == 0) {
        }
    }
    __syncthreads();
}
