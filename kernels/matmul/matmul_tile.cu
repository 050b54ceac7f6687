// matmul_tile: y[r,o] = x[r,:] . weight[o,:] + bias[o], or y += ..., or y = activation(y) * ... (EPILOGUE); for many rows, all in
//              f32: the form for f32 weights, and for results that must not round the activations
//
//   y      : (rows, outputs) f32      x : (rows, inputs) f32      weight : (outputs, inputs) WEIGHT      bias : (outputs) BIAS
//   launch : 256 threads per tile of 64 x 64, 4 x 4 sums per thread: (ceil(outputs / 64), ceil(rows / 64)) blocks
//   order  : one fused multiply-add per input, in rising order
//   moves  : per tile 64 * inputs * (4 + sizeof(WEIGHT)) bytes, mostly from L2; 128 multiply-adds per number loaded from
//            global memory, 2 per number loaded from shared memory
#include "matmul/epilogue.cuh"
#include "shared/numeric.cuh"

struct MatmulTileArgs {
    float*        y;       // (rows, outputs)
    const float*  x;       // (rows, inputs)
    const WEIGHT* weight;  // (outputs, inputs)
    const BIAS*   bias;    // (outputs), or null
    i32           rows;
    i32           inputs;
    i32           outputs;
    i32           unused;
};

constexpr i32 TILE = 64, DEPTH = 16, SIDE = TILE / 16;

// note: stored by input, then row, so that a thread's four rows are one 16-byte load; the 4 extra columns spread the
// transposing stores over the banks.
struct Panel {
    float numbers[DEPTH][TILE + 4];
};

// panel[k][i] = matrix[first + i, at + k] as f32, zero beyond the matrix.
template <class T> __device__ __forceinline__ void stage(Panel& panel, const T* matrix, i32 first, i32 count, i32 at, i32 inputs) {
#pragma unroll
    for (i32 n = 0; n < TILE * DEPTH / 256; n++) {
        const i32 i = (n * 256 + (i32)threadIdx.x) / DEPTH, k = threadIdx.x % DEPTH;
        const bool inside = first + i < count && at + k < inputs;
        panel.numbers[k][i] = inside ? to_f32(matrix[(i64)(first + i) * inputs + at + k]) : 0.0f;
    }
}

extern "C" __global__ void __launch_bounds__(256)
matmul_tile(const __grid_constant__ MatmulTileArgs args) {
    __shared__ Panel x_panel, weight_panel;
    const i32 first_output = blockIdx.x * TILE, first_row = blockIdx.y * TILE;
    const i32 column = threadIdx.x % 16 * SIDE, line = threadIdx.x / 16 * SIDE;
    float sums[SIDE][SIDE] = {};

    for (i32 at = 0; at < args.inputs; at += DEPTH) {
        stage(x_panel, args.x, first_row, args.rows, at, args.inputs);
        stage(weight_panel, args.weight, first_output, args.outputs, at, args.inputs);
        __syncthreads();
#pragma unroll
        for (i32 k = 0; k < DEPTH; k++) {
            float x[SIDE], w[SIDE];
#pragma unroll
            for (i32 i = 0; i < SIDE; i++) {
                x[i] = x_panel.numbers[k][line + i];
                w[i] = weight_panel.numbers[k][column + i];
            }
#pragma unroll
            for (i32 r = 0; r < SIDE; r++) {
#pragma unroll
                for (i32 o = 0; o < SIDE; o++) {
                    sums[r][o] = fmaf(x[r], w[o], sums[r][o]);
                }
            }
        }
        __syncthreads();
    }

#pragma unroll
    for (i32 r = 0; r < SIDE; r++) {
#pragma unroll
        for (i32 o = 0; o < SIDE; o++) {
            const i32 row = first_row + line + r, output = first_output + column + o;
            if (row < args.rows && output < args.outputs) {
                const float sum = args.bias != nullptr ? sums[r][o] + to_f32(args.bias[output]) : sums[r][o];
                finish<EPILOGUE>(args.y + (i64)row * args.outputs + output, sum);
            }
        }
    }
}
SIMT_KERNEL(matmul_tile);
