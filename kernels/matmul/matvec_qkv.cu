// matvec_qkv: q = rotate(x queryT + bias); K[sequence(r), position(r)] = rotate(x keyT + bias), V[...] = x valueT + bias
//             (the composition of matvec.cu thrice and kv/rotate_store_kv.cu, same bits, in one launch and without k and v in memory)
//
//   x      : (rows, inputs) f32      query : (heads * HEAD_DIM, inputs) WEIGHT      key, value : (kv_heads * HEAD_DIM, inputs) WEIGHT
//   q      : (rows, heads * HEAD_DIM) f32      cos_sin : (rows, 2 * pairs) f32      positions, sequences : (rows) i32
//   heads is 0 where only keys and values are wanted; kv_heads is 0 in a layer that owns none; pairs is 0 without rotation.
//   Rows of a negative sequence are padding: their q is written, nothing is stored.
//   launch : one warp per two outputs of a head that are rotated together (or are neighbours) and ROWS rows:
//            (ceil((heads + 2 * kv_heads) * HEAD_DIM / 2 / (THREADS / 32)), ceil(rows / ROWS)) blocks
//   order  : warp_dot.cuh; VECTOR numbers per load
//   moves  : (heads + 2 * kv_heads) * HEAD_DIM * inputs * sizeof(WEIGHT) bytes per ROWS rows; x comes from L1
#include "kv/put.cuh"
#include "matmul/warp_dot.cuh"
#include "shared/kv_layout.cuh"

struct MatvecQkvArgs {
    KvPages       kv;
    float*        q;           // (rows, heads * HEAD_DIM)
    const float*  x;           // (rows, inputs)
    const WEIGHT* query;       // (heads * HEAD_DIM, inputs)
    const WEIGHT* key;         // (kv_heads * HEAD_DIM, inputs)
    const WEIGHT* value;       // (kv_heads * HEAD_DIM, inputs)
    const BIAS*   query_bias;  // (heads * HEAD_DIM), or null
    const BIAS*   key_bias;    // (kv_heads * HEAD_DIM), or null
    const BIAS*   value_bias;  // (kv_heads * HEAD_DIM), or null
    const float*  cos_sin;     // (rows, 2 * pairs)
    const i32*    positions;   // (rows)
    const i32*    sequences;   // (rows)
    i32           rows;
    i32           inputs;
    i32           heads;
    i32           kv_heads;
    i32           pairs;
    i32           ahead;       // launched before x is there: weights to L2 meanwhile
};

constexpr i32 QUERY = 0, KEY = 1, VALUE = 2;

extern "C" __global__ void __launch_bounds__(THREADS)
matvec_qkv(const __grid_constant__ MatvecQkvArgs args) {
    const i32 couple = blockIdx.x * (THREADS / 32) + threadIdx.x / 32;
    const i32 first_row = blockIdx.y * ROWS;
    const i32 head = couple / (HEAD_DIM / 2);
    if (head >= args.heads + 2 * args.kv_heads) {
        return;
    }
    // The head's place among those of its part, and the two outputs: a pair that is rotated, or neighbours.
    const i32 part = head < args.heads ? QUERY : head < args.heads + args.kv_heads ? KEY : VALUE;
    const i32 place = head - (part == QUERY ? 0 : part == KEY ? args.heads : args.heads + args.kv_heads);
    const i32 i = couple % (HEAD_DIM / 2);
    const bool rotated = part != VALUE && i < args.pairs;
    const i32 low_at = place * HEAD_DIM + (rotated ? i : 2 * i), high_at = low_at + (rotated ? args.pairs : 1);
    const WEIGHT* weights = part == QUERY ? args.query : part == KEY ? args.key : args.value;

    const float* x[ROWS];
#pragma unroll
    for (i32 r = 0; r < ROWS; r++) {
        x[r] = args.x + (i64)min(first_row + r, args.rows - 1) * args.inputs;
    }
    const WEIGHT* weight[2] = {weights + (i64)low_at * args.inputs, weights + (i64)high_at * args.inputs};
    float sums[ROWS][2];
    warp_dot<WEIGHT, VECTOR, ROWS, 2, LOADS>(sums, x, weight, args.inputs, args.ahead != 0);

    const BIAS* bias = part == QUERY ? args.query_bias : part == KEY ? args.key_bias : args.value_bias;
    // Lane r finishes row r: every lane has all sums.
    const i32 lane = threadIdx.x % 32;
#pragma unroll
    for (i32 r = 0; r < ROWS; r++) {
        const i32 row = first_row + r;
        if (lane != r || row >= args.rows) {
            continue;
        }
        float low = sums[r][0], high = sums[r][1];
        if (bias != nullptr) {
            low += to_f32(bias[low_at]);
            high += to_f32(bias[high_at]);
        }
        if (rotated) {
            const float cosine = args.cos_sin[(i64)row * 2 * args.pairs + i];
            const float sine = args.cos_sin[(i64)row * 2 * args.pairs + args.pairs + i];
            const float turned = fmaf(low, cosine, -(high * sine));
            high = fmaf(high, cosine, low * sine);
            low = turned;
        }
        if (part == QUERY) {
            float* q = args.q + (i64)row * args.heads * HEAD_DIM;
            q[low_at] = low;
            q[high_at] = high;
        } else if (const i32 sequence = args.sequences[row]; sequence >= 0) {
            const KvLayout layout{PAGE_TOKENS, args.kv_heads, HEAD_DIM, 8 * sizeof(KV)};
            const i32 position = args.positions[row];
            KV* stored = (KV*)(args.kv.arena + layout.key_offset(args.kv.page(sequence, position, PAGE_TOKENS), args.kv.layer_offset,
                                                                 place, position % PAGE_TOKENS) + (part == KEY ? 0 : layout.value_bytes()));
            put(stored + low_at - place * HEAD_DIM, low, false);
            put(stored + high_at - place * HEAD_DIM, high, false);
        }
    }
}
SIMT_KERNEL(matvec_qkv);
