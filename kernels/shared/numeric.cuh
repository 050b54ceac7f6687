// f32, f16 and bf16 numbers in memory; arithmetic is f32. A kernel is baked for one of them: -DWEIGHT=bf16.
#pragma once
#include "shared/ptx.cuh"

__device__ __forceinline__ float to_f32(float x) { return x; }
__device__ __forceinline__ float to_f32(f16 x) { return cvt_f32_from_f16(x.bits); }
__device__ __forceinline__ float to_f32(bf16 x) { return __uint_as_float((u32)x.bits << 16); }

// from_f32<T>(x): rounded to nearest even.
template <class T> __device__ __forceinline__ T from_f32(float x);
template <> __device__ __forceinline__ float from_f32<float>(float x) { return x; }
template <> __device__ __forceinline__ f16 from_f32<f16>(float x) { return f16{cvt_f16(x)}; }
template <> __device__ __forceinline__ bf16 from_f32<bf16>(float x) { return bf16{cvt_bf16(x)}; }

// Two neighbouring 16-bit numbers in a word, the first in the low half.
template <class T> __device__ __forceinline__ float2 unpack2(u32 word);
template <> __device__ __forceinline__ float2 unpack2<bf16>(u32 word) {
    return make_float2(__uint_as_float(word << 16), __uint_as_float(word & 0xFFFF0000u));
}
template <> __device__ __forceinline__ float2 unpack2<f16>(u32 word) {
    return make_float2(cvt_f32_from_f16((u16)word), cvt_f32_from_f16((u16)(word >> 16)));
}

template <class T> __device__ __forceinline__ u32 pack2(float first, float second);
template <> __device__ __forceinline__ u32 pack2<bf16>(float first, float second) { return cvt_bf16x2(first, second); }
template <> __device__ __forceinline__ u32 pack2<f16>(float first, float second) { return cvt_f16x2(first, second); }

// d += a * b on tensor cores, by the operands' type.
template <class T> __device__ __forceinline__ void mma_16816(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2]);
template <> __device__ __forceinline__ void mma_16816<bf16>(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) { mma_16816_bf16(d, a, b); }
template <> __device__ __forceinline__ void mma_16816<f16>(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) { mma_16816_f16(d, a, b); }

// The 16 / sizeof(T) numbers of 16 bytes, widened: out[0 .. 16/sizeof(T)).
__device__ __forceinline__ void widen(float (&out)[4], uint4 v, float) {
    out[0] = __uint_as_float(v.x);
    out[1] = __uint_as_float(v.y);
    out[2] = __uint_as_float(v.z);
    out[3] = __uint_as_float(v.w);
}

template <class T> __device__ __forceinline__ void widen(float (&out)[8], uint4 v, T) {
    const u32 words[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
    for (int i = 0; i < 4; i++) {
        float2 pair = unpack2<T>(words[i]);
        out[2 * i] = pair.x;
        out[2 * i + 1] = pair.y;
    }
}

// Numbers of type T in 16 bytes.
template <class T> struct Vec16 { static constexpr int count = 16 / (int)sizeof(T); };
