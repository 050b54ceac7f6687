// Reductions, each with its order, so that a result's bits are a function of its inputs alone.
#pragma once
#include "shared/types.cuh"

#define FULL_WARP 0xFFFFFFFFu

// Butterfly: v + v[lane ^ 16], then 8, 4, 2, 1. Addition commutes, so every lane gets the same bits.
// GROUP < 32: the same within each aligned group of GROUP lanes (a power of two). All 32 lanes call.
template <int GROUP = 32>
__device__ __forceinline__ float warp_sum(float v) {
#if defined(KVCUDA_HOST) && defined(SIMT_FAST)
    return simt_warp_sum(v, GROUP); // the same sum in one rendezvous
#else
#pragma unroll
    for (int distance = GROUP / 2; distance > 0; distance /= 2) {
        v += __shfl_xor_sync(FULL_WARP, v, distance);
    }
    return v;
#endif
}

template <int GROUP = 32>
__device__ __forceinline__ float warp_max(float v) {
#if defined(KVCUDA_HOST) && defined(SIMT_FAST)
    return simt_warp_max(v, GROUP);
#else
#pragma unroll
    for (int distance = GROUP / 2; distance > 0; distance /= 2) {
        v = fmaxf(v, __shfl_xor_sync(FULL_WARP, v, distance));
    }
    return v;
#endif
}

// Sum over a block of 32 * WARPS threads, all of which call: warp_sum of each warp, then warp 0 + warp 1 + ... in order.
// Every thread gets the same bits. Ends with all threads past the scratch, so it may be called again at once.
template <int WARPS>
__device__ __forceinline__ float block_sum(float v) {
    v = warp_sum(v);
    if constexpr (WARPS == 1) {
        return v;
    } else {
        __shared__ float partial[WARPS];
        if (threadIdx.x % 32 == 0) {
            partial[threadIdx.x / 32] = v;
        }
        __syncthreads();
        float total = partial[0];
#pragma unroll
        for (int warp = 1; warp < WARPS; warp++) {
            total += partial[warp];
        }
        __syncthreads();
        return total;
    }
}

template <int WARPS>
__device__ __forceinline__ float block_max(float v) {
    v = warp_max(v);
    if constexpr (WARPS == 1) {
        return v;
    } else {
        __shared__ float partial[WARPS];
        if (threadIdx.x % 32 == 0) {
            partial[threadIdx.x / 32] = v;
        }
        __syncthreads();
        float highest = partial[0];
#pragma unroll
        for (int warp = 1; warp < WARPS; warp++) {
            highest = fmaxf(highest, partial[warp]);
        }
        __syncthreads();
        return highest;
    }
}
