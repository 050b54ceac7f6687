// The dot products of Rows rows of x with Outputs rows of a weight matrix by one warp, each in the same order:
//
//   lane l takes the numbers [V l, V l + V) of every run of 32 V (V = numbers per load), one fused multiply-add after another
//   in rising order; then warp_sum's butterfly over the lanes.
//
// Everything a caller reads besides weights it reads after this: in a programmatic launch the kernels before may still run.
// The order does not depend on Rows or Outputs, so a row's bits do not depend on how many rows a call has.
#pragma once
#include "shared/numeric.cuh"
#include "shared/warp.cuh"

// V weights from p on, as f32: one load of 16 bytes, or single numbers where rows are not 16-byte aligned.
template <class T, int V> struct Weights {
    uint4 bytes;
    __device__ __forceinline__ void load(const T* p) { bytes = ld_stream_16(p); }
    __device__ __forceinline__ void widen_to(float (&out)[V]) const { widen(out, bytes, T{}); }
};

template <class T> struct Weights<T, 1> {
    T number;
    __device__ __forceinline__ void load(const T* p) { number = *p; }
    __device__ __forceinline__ void widen_to(float (&out)[1]) const { out[0] = to_f32(number); }
};

template <int V> __device__ __forceinline__ void load_x(float (&out)[V], const float* p) {
    if constexpr (V == 1) {
        out[0] = *p;
    } else {
#pragma unroll
        for (i32 i = 0; i < V; i += 4) {
            const float4 four = *(const float4*)(p + i);
            out[i] = four.x;
            out[i + 1] = four.y;
            out[i + 2] = four.z;
            out[i + 3] = four.w;
        }
    }
}

// sums[r][o] = x[r] . weight[o] in every lane. With `ahead` the warp's weights are asked for before the kernels that make x have
// ended: they depend on none.
template <class T, int V, int Rows, int Outputs, int Loads>
__device__ __forceinline__ void warp_dot(float (&sums)[Rows][Outputs], const float* const (&x)[Rows],
                                         const T* const (&weight)[Outputs], i32 inputs, bool ahead = false) {
    grid_dependency_launch();
    if (ahead) {
#pragma unroll
        for (i32 o = 0; o < Outputs; o++) {
            for (i32 i = (i32)(threadIdx.x % 32) * (128 / (i32)sizeof(T)); i < inputs; i += 32 * (128 / (i32)sizeof(T))) {
                prefetch_l2(weight[o] + i);
            }
        }
    }
    grid_dependency_wait();
#pragma unroll
    for (i32 r = 0; r < Rows; r++) {
#pragma unroll
        for (i32 o = 0; o < Outputs; o++) {
            sums[r][o] = 0;
        }
    }
    auto multiply = [&](const Weights<T, V> (&loaded)[Outputs], i32 at) {
        float w[Outputs][V];
#pragma unroll
        for (i32 o = 0; o < Outputs; o++) {
            loaded[o].widen_to(w[o]);
        }
#pragma unroll
        for (i32 r = 0; r < Rows; r++) {
            float numbers[V];
            load_x(numbers, x[r] + at);
#pragma unroll
            for (i32 i = 0; i < V; i++) {
#pragma unroll
                for (i32 o = 0; o < Outputs; o++) {
                    sums[r][o] = fmaf(numbers[i], w[o][i], sums[r][o]);
                }
            }
        }
    };

    i32 at = (i32)(threadIdx.x % 32) * V;
    // note: all Loads x Outputs loads are issued before the first is used; that, not arithmetic, is what takes time here.
    for (; at + (Loads - 1) * 32 * V < inputs; at += Loads * 32 * V) {
        Weights<T, V> loaded[Loads][Outputs];
#pragma unroll
        for (i32 n = 0; n < Loads; n++) {
#pragma unroll
            for (i32 o = 0; o < Outputs; o++) {
                loaded[n][o].load(weight[o] + at + n * 32 * V);
            }
        }
#pragma unroll
        for (i32 n = 0; n < Loads; n++) {
            multiply(loaded[n], at + n * 32 * V);
        }
    }
    for (; at < inputs; at += 32 * V) {
        Weights<T, V> loaded[Outputs];
#pragma unroll
        for (i32 o = 0; o < Outputs; o++) {
            loaded[o].load(weight[o] + at);
        }
        multiply(loaded, at);
    }
#pragma unroll
    for (i32 r = 0; r < Rows; r++) {
#pragma unroll
        for (i32 o = 0; o < Outputs; o++) {
            sums[r][o] = warp_sum(sums[r][o]);
        }
    }
}
