// matmul_wgmma: y[r,o] = x[r,:] . weight[o,:] + bias[o], or y += ..., or y = activation(y) * ... (EPILOGUE), for many rows, on the
//               tensor cores of sm_90a: wgmma m64n128k16 with f32 sums, both operands in shared memory
//
//   y      : (rows, outputs) f32      x : (rows, inputs) f32      weight : (outputs, inputs) bf16, inputs a multiple of 8 and 16-byte
//   aligned      bias : (outputs) BIAS
//   launch : 2 warpgroups per tile of 128 rows x TILE_OUTPUTS: (ceil(rows / 128), ceil(outputs / TILE_OUTPUTS)) blocks, so that
//            neighbours read the same weights
//   shared : 1024 + STAGES * (128 + TILE_OUTPUTS) * 128 bytes
//   order  : 16 inputs at a time in rising order within the tensor core; a row's bits do not depend on the other rows
//   moves  : per tile inputs * (4 * 128 + 2 * TILE_OUTPUTS) bytes, mostly from L2
//   Rounding points: those of matmul_mma: x is rounded to bf16 when it is staged, products and sums are f32.
//
// A stage is 64 inputs: lines of 128 bytes whose eight 16-byte pieces are exchanged by the line's number modulo 8, as the tensor
// core's 128-byte swizzle has it. Weights come by cp.async, x through registers; both are ordinary writes, so the fence before
// each stage's barrier makes them visible to the tensor core. While a stage is multiplied the one after the next is filled: a
// product may still be under way when the next one is issued, and that is all that keeps the tensor core busy.
#include "matmul/epilogue.cuh"
#include "shared/numeric.cuh"

struct MatmulWgmmaArgs {
    float*       y;       // (rows, outputs)
    const float* x;       // (rows, inputs)
    const bf16*  weight;  // (outputs, inputs)
    const BIAS*  bias;    // (outputs), or null
    i32          rows;
    i32          inputs;
    i32          outputs;
    i32          unused;
};

constexpr i32 THREADS = 256, TILE_ROWS = 128, DEPTH = 64;
constexpr i32 LINE = 2 * DEPTH;  // bytes
constexpr i32 PIECES = DEPTH / 8;
constexpr i32 X_PIECES = TILE_ROWS * PIECES / THREADS, WEIGHT_PIECES = TILE_OUTPUTS * PIECES / THREADS;
constexpr i32 STAGE = (TILE_ROWS + TILE_OUTPUTS) * LINE;
constexpr i32 COLUMNS = TILE_OUTPUTS / 128;  // products of 128 outputs per warpgroup

// note: stage (step - 2) is the one that is filled, because product (step - 1) may still read its own.
constexpr i32 AHEAD = STAGES - 2;
static_assert(STAGES >= 3 && TILE_OUTPUTS % 128 == 0, "");

// Bytes from a stage's start to the piece of a line.
__device__ __forceinline__ i32 place_of(i32 line, i32 piece) { return line * LINE + (piece ^ line % 8) * 16; }

// A thread's pieces of x on their way from global to shared memory.
struct XPieces {
    float4 numbers[X_PIECES][2];

    __device__ __forceinline__ void load(const MatmulWgmmaArgs& args, i32 first_row, i32 at) {
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

    __device__ __forceinline__ void store(u8* stage) const {
#pragma unroll
        for (i32 n = 0; n < X_PIECES; n++) {
            const i32 i = n * THREADS + (i32)threadIdx.x;
            const float4 a = numbers[n][0], b = numbers[n][1];
            *(uint4*)(stage + place_of(i / PIECES, i % PIECES)) =
                make_uint4(pack2<bf16>(a.x, a.y), pack2<bf16>(a.z, a.w), pack2<bf16>(b.x, b.y), pack2<bf16>(b.z, b.w));
        }
    }
};

__device__ __forceinline__ void copy_weights(u8* stage, const MatmulWgmmaArgs& args, i32 first_output, i32 at) {
#pragma unroll
    for (i32 n = 0; n < WEIGHT_PIECES; n++) {
        const i32 i = n * THREADS + (i32)threadIdx.x, output = first_output + i / PIECES, input = at + i % PIECES * 8;
        const bool inside = output < args.outputs && input < args.inputs;
        cp_async_16_or_zero(stage + place_of(TILE_ROWS + i / PIECES, i % PIECES),
                            args.weight + (inside ? (i64)output * args.inputs + input : 0), inside);
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, 1)
matmul_wgmma(const __grid_constant__ MatmulWgmmaArgs args) {
    SMEM_DYN(shared);
    // note: the swizzle is a function of the address: eight lines of 128 bytes must begin at a multiple of 1024.
    u8* stages = shared + (1024 - shared_address(shared) % 1024) % 1024;
    const i32 first_row = blockIdx.x * TILE_ROWS, first_output = blockIdx.y * TILE_OUTPUTS;
    const i32 group = threadIdx.x / 128, steps = (args.inputs + DEPTH - 1) / DEPTH;

    XPieces x;
#pragma unroll
    for (i32 step = 0; step < AHEAD; step++) {
        if (step < steps) {
            copy_weights(stages + step * STAGE, args, first_output, step * DEPTH);
            x.load(args, first_row, step * DEPTH);
            x.store(stages + step * STAGE);
        }
        cp_async_commit();
    }
    if (AHEAD < steps) {
        x.load(args, first_row, AHEAD * DEPTH);
    }

    float sums[COLUMNS][64] = {};
    for (i32 step = 0; step < steps; step++) {
        cp_async_wait<AHEAD - 1>();
        fence_proxy_async();
        __syncthreads();
        const u8* stage = stages + step % STAGES * STAGE;
        wgmma_fence();
#pragma unroll
        for (i32 k = 0; k < DEPTH / 16; k++) {
            const u64 a = swizzled_lines(stage + group * 64 * LINE + k * 32);
#pragma unroll
            for (i32 c = 0; c < COLUMNS; c++) {
                wgmma_m64n128k16_bf16(sums[c], a, swizzled_lines(stage + (TILE_ROWS + c * 128) * LINE + k * 32));
            }
        }
        wgmma_commit();

        const i32 ahead = step + AHEAD;
        if (ahead < steps) {
            u8* filled = stages + ahead % STAGES * STAGE;
            copy_weights(filled, args, first_output, ahead * DEPTH);
            x.store(filled);
            if (ahead + 1 < steps) {
                x.load(args, first_row, (ahead + 1) * DEPTH);
            }
        }
        cp_async_commit();
        wgmma_wait<1>();
    }
    wgmma_wait<0>();
    cp_async_wait<0>();

    // Thread t of a warpgroup has the lines 16 (t / 32) + t % 32 / 4 and 8 further, columns 2 (t % 4) of every eight.
#pragma unroll
    for (i32 half = 0; half < 2; half++) {
        const i32 row = first_row + group * 64 + threadIdx.x % 128 / 32 * 16 + threadIdx.x % 32 / 4 + half * 8;
        if (row >= args.rows) {
            break;
        }
        float* y = args.y + (i64)row * args.outputs;
#pragma unroll
        for (i32 n = 0; n < COLUMNS * 16; n++) {
#pragma unroll
            for (i32 i = 0; i < 2; i++) {
                const i32 output = first_output + n * 8 + threadIdx.x % 4 * 2 + i;
                const float sum = sums[n / 16][n % 16 * 4 + half * 2 + i];
                if (output < args.outputs) {
                    finish<EPILOGUE>(y + output, args.bias != nullptr ? sum + to_f32(args.bias[output]) : sum);
                }
            }
        }
    }
}
SIMT_KERNEL(matmul_wgmma);
