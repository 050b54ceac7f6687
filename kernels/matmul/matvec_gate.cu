// matvec_gate: g[r,o] = activation(x[r,:] . gate[o,:]) * (x[r,:] . up[o,:])          (Shazeer 2020: SwiGLU with SILU)
//              (the composition of matvec.cu twice and mlp/gate.cu, same bits, in one launch and without a scratch buffer)
//
//   g      : (rows, outputs) f32      x : (rows, inputs) f32      gate, up : (outputs, inputs) WEIGHT
//   launch : one warp per output and ROWS rows: (ceil(outputs / (THREADS / 32)), ceil(rows / ROWS)) blocks
//   order  : warp_dot.cuh; VECTOR numbers per load
//   moves  : 2 * outputs * inputs * sizeof(WEIGHT) bytes per ROWS rows; x comes from L1
#include "matmul/warp_dot.cuh"
#include "mlp/activation.cuh"

struct MatvecGateArgs {
    float*        g;     // (rows, outputs)
    const float*  x;     // (rows, inputs)
    const WEIGHT* gate;  // (outputs, inputs)
    const WEIGHT* up;    // (outputs, inputs)
    i32           rows;
    i32           inputs;
    i32           outputs;
    i32           ahead;  // launched before x is there: weights to L2 meanwhile
};

extern "C" __global__ void __launch_bounds__(THREADS)
matvec_gate(const __grid_constant__ MatvecGateArgs args) {
    const i32 output = blockIdx.x * (THREADS / 32) + threadIdx.x / 32;
    const i32 first_row = blockIdx.y * ROWS;
    if (output >= args.outputs) {
        return;
    }
    const float* x[ROWS];
#pragma unroll
    for (i32 r = 0; r < ROWS; r++) {
        x[r] = args.x + (i64)min(first_row + r, args.rows - 1) * args.inputs;
    }
    const WEIGHT* weight[2] = {args.gate + (i64)output * args.inputs, args.up + (i64)output * args.inputs};
    float sums[ROWS][2];
    warp_dot<WEIGHT, VECTOR, ROWS, 2, LOADS>(sums, x, weight, args.inputs, args.ahead != 0);

    const i32 lane = threadIdx.x % 32;
#pragma unroll
    for (i32 r = 0; r < ROWS; r++) {
        if (lane == r && first_row + r < args.rows) {
            args.g[(i64)(first_row + r) * args.outputs + output] = activation<ACTIVATION>(sums[r][0]) * sums[r][1];
        }
    }
}
SIMT_KERNEL(matvec_gate);
