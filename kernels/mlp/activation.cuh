// The non-linearities of the supported models, by the number that C#'s Activation gives them.
#pragma once
#include "shared/types.cuh"

constexpr int SILU = 0, GELU_TANH = 1, GELU = 2, RELU = 3;

template <int Kind> __device__ __forceinline__ float activation(float x) {
    if (Kind == SILU) {
        return x / (1.0f + expf(-x));
    }
    if (Kind == GELU_TANH) {
        const float inner = 0.7978845608f * fmaf(0.044715f * x * x, x, x);  // sqrt(2/pi) (x + 0.044715 x^3)
        return 0.5f * x * (1.0f + tanhf(inner));
    }
    if (Kind == GELU) {
        return 0.5f * x * (1.0f + erff(x * 0.7071067812f));
    }
    return fmaxf(x, 0.0f);
}
