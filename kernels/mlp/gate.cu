// gate: y = activation(gate) * up          (Shazeer 2020: SwiGLU is ACTIVATION = SILU)
//
//   y, gate, up : the same `count` f32, y may be gate
//   launch : one thread per number
//   moves  : 12 * count bytes
#include "mlp/activation.cuh"
#include "shared/numeric.cuh"

struct GateArgs {
    float*       y;
    const float* gate;
    const float* up;
    i64          count;
};

extern "C" __global__ void __launch_bounds__(THREADS)
gate(const __grid_constant__ GateArgs args) {
    const i64 i = (i64)blockIdx.x * THREADS + threadIdx.x;
    if (i < args.count) {
        args.y[i] = activation<ACTIVATION>(args.gate[i]) * args.up[i];
    }
}
SIMT_KERNEL(gate);
