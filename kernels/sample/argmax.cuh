// The largest number of a row and the lowest place that has it.
#pragma once
#include "shared/warp.cuh"

struct Largest {
    float value;
    i32   place;

    // note: NaN never wins, because no comparison with it is true.
    __device__ __forceinline__ void take(float other, i32 other_place) {
        if (other > value || (other == value && other_place < place)) {
            value = other;
            place = other_place;
        }
    }
};

// Over a block of 32 * Warps threads; every thread gets the result. A row of nothing but NaN (or -inf) gives place 0.
template <int Warps> __device__ __forceinline__ Largest block_largest(const float* row, i32 count) {
    __shared__ Largest warps[Warps];
    Largest best{-__int_as_float(0x7F800000), 0x7FFFFFFF};
    for (i32 i = threadIdx.x; i < count; i += 32 * Warps) {
        best.take(row[i], i);
    }
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2) {
        const float value = __shfl_xor_sync(FULL_WARP, best.value, distance);
        const i32 place = __shfl_xor_sync(FULL_WARP, best.place, distance);
        best.take(value, place);
    }
    if (threadIdx.x % 32 == 0) {
        warps[threadIdx.x / 32] = best;
    }
    __syncthreads();
    best = warps[0];
    for (i32 warp = 1; warp < Warps; warp++) {
        best.take(warps[warp].value, warps[warp].place);
    }
    __syncthreads();
    if (best.place >= count) {
        best.place = 0;
    }
    return best;
}
