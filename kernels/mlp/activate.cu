// activate: x = activation(x)
//
//   x      : `count` f32, in place
//   launch : one thread per number
//   moves  : 8 * count bytes
#include "mlp/activation.cuh"
#include "shared/numeric.cuh"

struct ActivateArgs {
    float* x;
    i64    count;
};

extern "C" __global__ void __launch_bounds__(THREADS)
activate(const __grid_constant__ ActivateArgs args) {
    const i64 i = (i64)blockIdx.x * THREADS + threadIdx.x;
    if (i < args.count) {
        args.x[i] = activation<ACTIVATION>(args.x[i]);
    }
}
SIMT_KERNEL(activate);
