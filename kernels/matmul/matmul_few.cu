// matmul_few: y[r,o] = x[r,:] . weight[o,:] + bias[o], or y += ..., or y = activation(y) * ... (EPILOGUE), for up to ROWS rows, on tensor
//             cores: the weights are read once whatever the number of rows
//
//   y      : (rows, outputs) f32      x : (rows, inputs) f32      weight : (outputs, inputs) WEIGHT (f16 or bf16), inputs a
//   multiple of 8 and 16-byte aligned      bias : (outputs) BIAS
//   launch : 8 warps per 32 outputs: ceil(outputs / 32) blocks of 256 threads
//   shared : 8 * 32 * ROWS * 4 bytes
//   order  : warp w takes inputs 32 w .. 32 w + 31 of every 256 in rising order, 16 at a time within the tensor core; then warps 0, 1, ..
//            are added in order. So a row's bits depend neither on ROWS nor on the other rows.
//   moves  : outputs * inputs * sizeof(WEIGHT) bytes from memory, and 4 * ROWS * inputs per block from L2
//   Rounding points: x is rounded to WEIGHT; products and sums are f32.
//
// The mma takes weights as its 16 lines and rows as its 8 columns (half of one is wasted on a single row; memory, not the mma, is
// the limit). Which 16 inputs it multiplies is no matter as long as both operands agree: a lane loads 8 numbers in a piece, and
// they are its parts of two products.
#include "matmul/epilogue.cuh"
#include "shared/numeric.cuh"

struct MatmulFewArgs {
    float*        y;       // (rows, outputs)
    const float*  x;       // (rows, inputs)
    const WEIGHT* weight;  // (outputs, inputs)
    const BIAS*   bias;    // (outputs), or null
    i32           rows;
    i32           inputs;
    i32           outputs;
    i32           unused;
};

constexpr i32 WARPS = 8, SQUARES = 2, EIGHTS = ROWS / 8;  // a warp's part of y: 2 x 16 outputs, EIGHTS x 8 rows
constexpr i32 SUMS = SQUARES * EIGHTS * 4;                // per thread

// A lane's weights of one run of 32 inputs: 8 of each of 4 lines.
struct Run {
    uint4 lines[SQUARES][2];

    __device__ __forceinline__ void load(const WEIGHT* const (&from)[SQUARES][2], i32 at, bool inside) {
#pragma unroll
        for (i32 s = 0; s < SQUARES; s++) {
#pragma unroll
            for (i32 half = 0; half < 2; half++) {
                lines[s][half] = inside ? ld_stream_16(from[s][half] + at) : make_uint4(0, 0, 0, 0);
            }
        }
    }
};

extern "C" __global__ void __launch_bounds__(32 * WARPS)
matmul_few(const __grid_constant__ MatmulFewArgs args) {
    SMEM_DYN(shared);
    float* parts = (float*)shared;  // (WARPS, SUMS, 32)
    const i32 lane = threadIdx.x % 32, warp = threadIdx.x / 32, first_output = blockIdx.x * 16 * SQUARES;
    // Lines and rows past the end repeat the last one; their sums are not stored.
    const WEIGHT* from[SQUARES][2];
#pragma unroll
    for (i32 s = 0; s < SQUARES; s++) {
#pragma unroll
        for (i32 half = 0; half < 2; half++) {
            from[s][half] = args.weight + (i64)min(first_output + s * 16 + half * 8 + lane / 4, args.outputs - 1) * args.inputs;
        }
    }
    const float* x[EIGHTS];
#pragma unroll
    for (i32 n = 0; n < EIGHTS; n++) {
        x[n] = args.x + (i64)min(n * 8 + lane / 4, args.rows - 1) * args.inputs;
    }

    const i32 own = lane % 4 * 8;
    i32 at = warp * 32 + own;
    Run runs[LOADS];
#pragma unroll
    for (i32 n = 0; n < LOADS; n++) {
        runs[n].load(from, at + n * 32 * WARPS, at + n * 32 * WARPS < args.inputs);
    }
    // The weights depend on no kernel, so the first of them are on their way before x is there.
    grid_dependency_launch();
    grid_dependency_wait();

    float sums[SQUARES][EIGHTS][4] = {};
    // note: the bound is the warp's, not the lane's: all lanes take part in an mma.
    for (i32 first = warp * 32; first < args.inputs; first += LOADS * 32 * WARPS) {
#pragma unroll
        for (i32 n = 0; n < LOADS; n++) {
            const i32 input = first + n * 32 * WARPS + own;
            u32 b[EIGHTS][4];
#pragma unroll
            for (i32 e = 0; e < EIGHTS; e++) {
                float4 low = make_float4(0, 0, 0, 0), high = low;
                if (input < args.inputs) {
                    low = *(const float4*)(x[e] + input);
                    high = *(const float4*)(x[e] + input + 4);
                }
                b[e][0] = pack2<WEIGHT>(low.x, low.y);
                b[e][1] = pack2<WEIGHT>(low.z, low.w);
                b[e][2] = pack2<WEIGHT>(high.x, high.y);
                b[e][3] = pack2<WEIGHT>(high.z, high.w);
            }
#pragma unroll
            for (i32 s = 0; s < SQUARES; s++) {
                const uint4 up = runs[n].lines[s][0], down = runs[n].lines[s][1];
#pragma unroll
                for (i32 e = 0; e < EIGHTS; e++) {
                    mma_16816<WEIGHT>(sums[s][e], {up.x, down.x, up.y, down.y}, {b[e][0], b[e][1]});
                    mma_16816<WEIGHT>(sums[s][e], {up.z, down.z, up.w, down.w}, {b[e][2], b[e][3]});
                }
            }
            const i32 next = input + LOADS * 32 * WARPS;
            runs[n].load(from, next, next < args.inputs);
        }
    }

#pragma unroll
    for (i32 s = 0; s < SQUARES; s++) {
#pragma unroll
        for (i32 e = 0; e < EIGHTS; e++) {
#pragma unroll
            for (i32 i = 0; i < 4; i++) {
                parts[(warp * SUMS + (s * EIGHTS + e) * 4 + i) * 32 + lane] = sums[s][e][i];
            }
        }
    }
    __syncthreads();
    // Warp w finishes sums w, w + 8, ...: in the mma's layout lane's sum i of (s, e) is output lane / 4 (+ 8), row 2 (lane % 4) (+ 1).
    for (i32 n = warp; n < SUMS; n += WARPS) {
        float sum = parts[n * 32 + lane];
#pragma unroll
        for (i32 w = 1; w < WARPS; w++) {
            sum += parts[(w * SUMS + n) * 32 + lane];
        }
        const i32 s = n / 4 / EIGHTS, e = n / 4 % EIGHTS, i = n % 4;
        const i32 output = first_output + s * 16 + i / 2 * 8 + lane / 4, row = e * 8 + lane % 4 * 2 + i % 2;
        if (row < args.rows && output < args.outputs) {
            sum += args.bias != nullptr ? to_f32(args.bias[output]) : 0.0f;
            finish<EPILOGUE>(args.y + (i64)row * args.outputs + output, sum);
        }
    }
}
SIMT_KERNEL(matmul_few);
