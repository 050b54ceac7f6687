// matvec: y[r,o] = x[r,:] . weight[o,:] + bias[o], or y += (EPILOGUE); for few rows: bound by reading the weights once
//
//   y      : (rows, outputs) f32      x : (rows, inputs) f32      weight : (outputs, inputs) WEIGHT      bias : (outputs) BIAS
//   launch : one warp per OUTPUTS outputs and ROWS rows: (ceil(outputs / (OUTPUTS * (THREADS / 32))), ceil(rows / ROWS)) blocks
//   order  : warp_dot.cuh; VECTOR numbers per load. Neither ROWS nor OUTPUTS changes a row's bits.
//   moves  : outputs * inputs * sizeof(WEIGHT) bytes per ROWS rows; x comes from L1
//   x is not rounded and not staged in shared memory: it is read by every warp of the SM and stays in L1.
#include "matmul/epilogue.cuh"
#include "matmul/warp_dot.cuh"

struct MatvecArgs {
    float*        y;       // (rows, outputs)
    const float*  x;       // (rows, inputs)
    const WEIGHT* weight;  // (outputs, inputs)
    const BIAS*   bias;    // (outputs), or null
    i32           rows;
    i32           inputs;
    i32           outputs;
    i32           ahead;   // launched before x is there: weights to L2 meanwhile
};

extern "C" __global__ void __launch_bounds__(THREADS)
matvec(const __grid_constant__ MatvecArgs args) {
    const i32 first_output = (blockIdx.x * (THREADS / 32) + threadIdx.x / 32) * OUTPUTS;
    const i32 first_row = blockIdx.y * ROWS;
    if (first_output >= args.outputs) {
        return;
    }
    // Rows and outputs past the end repeat the last one; their sums are not stored.
    const float* x[ROWS];
#pragma unroll
    for (i32 r = 0; r < ROWS; r++) {
        x[r] = args.x + (i64)min(first_row + r, args.rows - 1) * args.inputs;
    }
    const WEIGHT* weight[OUTPUTS];
#pragma unroll
    for (i32 o = 0; o < OUTPUTS; o++) {
        weight[o] = args.weight + (i64)min(first_output + o, args.outputs - 1) * args.inputs;
    }
    float sums[ROWS][OUTPUTS];
    warp_dot<WEIGHT, VECTOR, ROWS, OUTPUTS, LOADS>(sums, x, weight, args.inputs, args.ahead != 0);

    // Lane i stores sum i: every lane has all of them.
    const i32 lane = threadIdx.x % 32;
#pragma unroll
    for (i32 r = 0; r < ROWS; r++) {
#pragma unroll
        for (i32 o = 0; o < OUTPUTS; o++) {
            const i32 row = first_row + r, output = first_output + o;
            if (lane == r * OUTPUTS + o && row < args.rows && output < args.outputs) {
                const float sum = args.bias != nullptr ? sums[r][o] + to_f32(args.bias[output]) : sums[r][o];
                finish<EPILOGUE>(args.y + (i64)row * args.outputs + output, sum);
            }
        }
    }
}
SIMT_KERNEL(matvec);
