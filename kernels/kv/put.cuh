// Storing a number and noticing whether that changed anything.
#pragma once
#include "shared/numeric.cuh"

__device__ __forceinline__ bool same_bits(float a, float b) { return __float_as_uint(a) == __float_as_uint(b); }
template <class T> __device__ __forceinline__ bool same_bits(T a, T b) { return a.bits == b.bits; }

// *destination = value, rounded. True if `compare` and the bits there were others: -0 is not 0, and a NaN equals itself.
template <class T> __device__ __forceinline__ bool put(T* destination, float value, bool compare) {
    const T number = from_f32<T>(value);
    const bool differs = compare && !same_bits(*destination, number);
    *destination = number;
    return differs;
}
