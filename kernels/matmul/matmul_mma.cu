// matmul_mma: y[r,o] = x[r,:] . weight[o,:] + bias[o], or y += ..., or y = activation(y) * ... (EPILOGUE), for many rows, on tensor
//             cores: mma m16n8k16 with f32 sums
//
//   y      : (rows, outputs) f32      x : (rows, inputs) f32      weight : (outputs, inputs) WEIGHT (f16 or bf16), inputs a
//   multiple of 8 and 16-byte aligned      bias : (outputs) BIAS
//   launch : LINES_OF_WARPS x COLUMNS_OF_WARPS warps per tile of TILE_ROWS x TILE_OUTPUTS:
//            (ceil(outputs / TILE_OUTPUTS), ceil(rows / TILE_ROWS)) blocks
//   shared : STAGES * (TILE_ROWS + TILE_OUTPUTS) * 80 bytes
//   order  : 16 inputs at a time in rising order, so a row's bits depend neither on the tile's shape nor on other rows
//   moves  : per tile inputs * (4 * TILE_ROWS + 2 * TILE_OUTPUTS) bytes, mostly from L2
//   Rounding points: x is rounded to WEIGHT when it is staged (its copy goes through registers, a tile ahead of its use; the
//   weights' goes by cp.async, STAGES - 1 tiles ahead); products and sums are f32.
#include "matmul/epilogue.cuh"
#include "shared/numeric.cuh"

struct MatmulMmaArgs {
    float*        y;       // (rows, outputs)
    const float*  x;       // (rows, inputs)
    const WEIGHT* weight;  // (outputs, inputs)
    const BIAS*   bias;    // (outputs), or null
    i32           rows;
    i32           inputs;
    i32           outputs;
    i32           unused;
};

constexpr i32 DEPTH = 32;           // inputs per stage
constexpr i32 PITCH = DEPTH + 8;    // note: lines of 80 bytes put the 8 rows of an ldmatrix on 8 different bank groups
constexpr i32 THREADS = 32 * LINES_OF_WARPS * COLUMNS_OF_WARPS;
constexpr i32 WARP_ROWS = TILE_ROWS / LINES_OF_WARPS, WARP_OUTPUTS = TILE_OUTPUTS / COLUMNS_OF_WARPS;
constexpr i32 PIECES = DEPTH / 8;   // pieces of 8 inputs per line: 16 bytes once rounded
constexpr i32 X_PIECES = TILE_ROWS * PIECES / THREADS, WEIGHT_PIECES = TILE_OUTPUTS * PIECES / THREADS;
constexpr i32 STAGE = (TILE_ROWS + TILE_OUTPUTS) * PITCH;

static_assert(WARP_ROWS % 16 == 0 && WARP_OUTPUTS % 16 == 0, "a warp's part is made of 16 x 16 squares");
static_assert(X_PIECES * THREADS == TILE_ROWS * PIECES && WEIGHT_PIECES * THREADS == TILE_OUTPUTS * PIECES, "every thread stages as much");

// A thread's pieces of x on their way from global to shared memory.
struct XPieces {
    float4 numbers[X_PIECES][2];

    __device__ __forceinline__ void load(const MatmulMmaArgs& args, i32 first_row, i32 at) {
#pragma unroll
        for (i32 n = 0; n < X_PIECES; n++) {
            const i32 i = n * THREADS + (i32)threadIdx.x, row = first_row + i / PIECES, input = at + i % PIECES * 8;
            numbers[n][0] = numbers[n][1] = make_float4(0, 0, 0, 0);
            if (row < args.rows && input < args.inputs) {
                const float4* from = (const float4*)(args.x + (i64)row * args.inputs + input);
                numbers[n][0] = from[0];
                numbers[n][1] = from[1];
            }
        }
    }

    __device__ __forceinline__ void store(WEIGHT* stage) const {
#pragma unroll
        for (i32 n = 0; n < X_PIECES; n++) {
            const i32 i = n * THREADS + (i32)threadIdx.x;
            const float4 a = numbers[n][0], b = numbers[n][1];
            *(uint4*)(stage + i / PIECES * PITCH + i % PIECES * 8) =
                make_uint4(pack2<WEIGHT>(a.x, a.y), pack2<WEIGHT>(a.z, a.w), pack2<WEIGHT>(b.x, b.y), pack2<WEIGHT>(b.z, b.w));
        }
    }
};

__device__ __forceinline__ void copy_weights(WEIGHT* stage, const MatmulMmaArgs& args, i32 first_output, i32 at) {
#pragma unroll
    for (i32 n = 0; n < WEIGHT_PIECES; n++) {
        const i32 i = n * THREADS + (i32)threadIdx.x, output = first_output + i / PIECES, input = at + i % PIECES * 8;
        const bool inside = output < args.outputs && input < args.inputs;
        cp_async_16_or_zero(stage + (TILE_ROWS + i / PIECES) * PITCH + i % PIECES * 8,
                            args.weight + (inside ? (i64)output * args.inputs + input : 0), inside);
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
matmul_mma(const __grid_constant__ MatmulMmaArgs args) {
    SMEM_DYN(shared);
    WEIGHT* stages = (WEIGHT*)shared;
    const i32 first_output = blockIdx.x * TILE_OUTPUTS, first_row = blockIdx.y * TILE_ROWS;
    const i32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const i32 warp_row = warp / COLUMNS_OF_WARPS * WARP_ROWS, warp_output = warp % COLUMNS_OF_WARPS * WARP_OUTPUTS;
    const i32 steps = (args.inputs + DEPTH - 1) / DEPTH;

    XPieces x;
#pragma unroll
    for (i32 step = 0; step < STAGES - 1; step++) {
        if (step < steps) {
            copy_weights(stages + step * STAGE, args, first_output, step * DEPTH);
            x.load(args, first_row, step * DEPTH);
            x.store(stages + step * STAGE);
        }
        cp_async_commit();
    }

    float sums[WARP_ROWS / 16][WARP_OUTPUTS / 8][4] = {};
    for (i32 step = 0; step < steps; step++) {
        cp_async_wait<STAGES - 2>();
        // note: this barrier also says that everyone has read stage (step - 1) % STAGES, which is filled anew below.
        __syncthreads();
        const i32 ahead = step + STAGES - 1;
        WEIGHT* filled = stages + ahead % STAGES * STAGE;
        if (ahead < steps) {
            copy_weights(filled, args, first_output, ahead * DEPTH);
            x.load(args, first_row, ahead * DEPTH);
        }
        cp_async_commit();

        const WEIGHT* stage = stages + step % STAGES * STAGE;
#pragma unroll
        for (i32 k = 0; k < DEPTH; k += 16) {
            u32 a[WARP_ROWS / 16][4];
#pragma unroll
            for (i32 r = 0; r < WARP_ROWS / 16; r++) {
                ldmatrix_x4(a[r], stage + (warp_row + r * 16 + lane % 16) * PITCH + k + lane / 16 * 8);
            }
#pragma unroll
            for (i32 o = 0; o < WARP_OUTPUTS / 8; o += 2) {
                u32 b[4];
                ldmatrix_x4(b, stage + (TILE_ROWS + warp_output + o * 8 + lane % 8 + lane / 16 * 8) * PITCH + k + lane / 8 % 2 * 8);
#pragma unroll
                for (i32 r = 0; r < WARP_ROWS / 16; r++) {
                    mma_16816<WEIGHT>(sums[r][o], a[r], {b[0], b[1]});
                    mma_16816<WEIGHT>(sums[r][o + 1], a[r], {b[2], b[3]});
                }
            }
        }
        if (ahead < steps) {
            x.store(filled);
        }
    }
    cp_async_wait<0>();

#pragma unroll
    for (i32 r = 0; r < WARP_ROWS / 16; r++) {
#pragma unroll
        for (i32 o = 0; o < WARP_OUTPUTS / 8; o++) {
#pragma unroll
            for (i32 i = 0; i < 4; i++) {
                const i32 row = first_row + warp_row + r * 16 + lane / 4 + i / 2 * 8;
                const i32 output = first_output + warp_output + o * 8 + lane % 4 * 2 + i % 2;
                if (row < args.rows && output < args.outputs) {
                    const float sum = args.bias != nullptr ? sums[r][o][i] + to_f32(args.bias[output]) : sums[r][o][i];
                    finish<EPILOGUE>(args.y + (i64)row * args.outputs + output, sum);
                }
            }
        }
    }
}
SIMT_KERNEL(matmul_mma);
