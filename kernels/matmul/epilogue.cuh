// What happens to a finished sum: y = sum, y += sum, or y = activation(y) * sum, which makes g = activation(x gateT) * (x upT)
// of two launches without a second buffer. A bias is added to the sum first.
#pragma once
#include "mlp/activation.cuh"

constexpr int STORE = 0, ADD = 1, GATE = 2;  // GATE + the number of an activation

template <int Kind> __device__ __forceinline__ void finish(float* y, float sum) {
    if constexpr (Kind == STORE) {
        *y = sum;
    } else if constexpr (Kind == ADD) {
        *y += sum;
    } else {
        *y = activation<Kind - GATE>(*y) * sum;
    }
}
