// rotate_store_kv: rotate(q); rotate(k); store_kv(k, v)          (the composition of rope/rotate.cu and kv/store_kv.cu, same bits)
//
//   q      : (rows, heads * HEAD_DIM) f32, rotated in place      k, v : (rows, kv_heads * HEAD_DIM) f32, only read
//   cos_sin : (rows, 2 * pairs) f32      positions, sequences : (rows) i32
//   Rows of a negative sequence are padding: their q is rotated, nothing is stored.
//   launch : one block per row; heads, then kv heads, each thread every THREADS-th pair
//   moves  : 8 * heads * HEAD_DIM + kv_heads * HEAD_DIM * (8 + 2 * sizeof(KV)) bytes per row, in one launch for three
#include "kv/put.cuh"
#include "shared/kv_layout.cuh"

struct RotateStoreKvArgs {
    KvPages      kv;
    float*       q;          // (rows, heads * HEAD_DIM)
    const float* k;          // (rows, kv_heads * HEAD_DIM)
    const float* v;          // (rows, kv_heads * HEAD_DIM)
    const float* cos_sin;    // (rows, 2 * pairs)
    const i32*   positions;  // (rows)
    const i32*   sequences;  // (rows)
    i32*         changed;    // (rows), or null
    i32          heads;
    i32          kv_heads;
    i32          pairs;
    i32          unused;
};

extern "C" __global__ void __launch_bounds__(THREADS)
rotate_store_kv(const __grid_constant__ RotateStoreKvArgs args) {
    const i32 row = blockIdx.x, sequence = args.sequences[row], position = args.positions[row];
    const i32 pairs = args.pairs;
    const float* cosine = args.cos_sin + (i64)row * 2 * pairs;
    const float* sine = cosine + pairs;

    float* q = args.q + (i64)row * args.heads * HEAD_DIM;
    for (i32 n = threadIdx.x; n < args.heads * pairs; n += THREADS) {
        const i32 i = n % pairs;
        float* x = q + n / pairs * HEAD_DIM + i;
        const float low = x[0], high = x[pairs];
        x[0] = fmaf(low, cosine[i], -(high * sine[i]));
        x[pairs] = fmaf(high, cosine[i], low * sine[i]);
    }
    if (sequence < 0) {
        return;
    }

    const KvLayout layout{PAGE_TOKENS, args.kv_heads, HEAD_DIM, 8 * sizeof(KV)};
    u8* keys = args.kv.arena + layout.key_offset(args.kv.page(sequence, position, PAGE_TOKENS), args.kv.layer_offset, 0,
                                                 position % PAGE_TOKENS);
    const float* k = args.k + (i64)row * args.kv_heads * HEAD_DIM;
    const float* v = args.v + (i64)row * args.kv_heads * HEAD_DIM;
    const bool compare = args.changed != nullptr;
    i32 differs = 0;
    for (i32 n = threadIdx.x; n < args.kv_heads * HEAD_DIM; n += THREADS) {
        const i32 i = n % HEAD_DIM;
        KV* key = (KV*)(keys + n / HEAD_DIM * layout.head_bytes()) + i;
        KV* value = (KV*)(keys + n / HEAD_DIM * layout.head_bytes() + layout.value_bytes()) + i;
        differs |= put(value, v[n], compare);
        if (i < pairs) {
            const float low = k[n], high = k[n + pairs];
            differs |= put(key, fmaf(low, cosine[i], -(high * sine[i])), compare);
            differs |= put(key + pairs, fmaf(high, cosine[i], low * sine[i]), compare);
        } else if (i >= 2 * pairs) {
            differs |= put(key, k[n], compare);
        }
    }
    if (compare && __syncthreads_or(differs) && threadIdx.x == 0) {
        args.changed[row] = 1;
    }
}
SIMT_KERNEL(rotate_store_kv);
