// store_kv: K[sequence(r), position(r)] = k[r], V[...] = v[r], rounded to KV (nearest even); with `changed`:
//           changed[r] = 1 if any stored bit differs from what was there (else it stays as it is)
//
//   k, v   : (rows, kv_heads * HEAD_DIM) f32, k already rotated      positions, sequences : (rows) i32
//   Rows of a negative sequence are padding and write nothing.
//   launch : one block per row, each thread every THREADS-th number
//   moves  : kv_heads * HEAD_DIM * (8 + 2 * sizeof(KV)) bytes per row, and 2 * sizeof(KV) per number more with `changed`
#include "kv/put.cuh"
#include "shared/kv_layout.cuh"

struct StoreKvArgs {
    KvPages      kv;
    const float* k;          // (rows, kv_heads * HEAD_DIM)
    const float* v;          // (rows, kv_heads * HEAD_DIM)
    const i32*   positions;  // (rows)
    const i32*   sequences;  // (rows)
    i32*         changed;    // (rows), or null
    i32          kv_heads;
    i32          unused;
};

extern "C" __global__ void __launch_bounds__(THREADS)
store_kv(const __grid_constant__ StoreKvArgs args) {
    const i32 row = blockIdx.x, sequence = args.sequences[row], position = args.positions[row];
    if (sequence < 0) {
        return;
    }
    const KvLayout layout{PAGE_TOKENS, args.kv_heads, HEAD_DIM, 8 * sizeof(KV)};
    const i32 page = args.kv.page(sequence, position, PAGE_TOKENS);
    const i32 width = args.kv_heads * HEAD_DIM;
    const bool compare = args.changed != nullptr;
    i32 differs = 0;
    for (i32 i = threadIdx.x; i < width; i += THREADS) {
        u8* key = args.kv.arena + layout.key_offset(page, args.kv.layer_offset, i / HEAD_DIM, position % PAGE_TOKENS);
        differs |= put((KV*)key + i % HEAD_DIM, args.k[(i64)row * width + i], compare);
        differs |= put((KV*)(key + layout.value_bytes()) + i % HEAD_DIM, args.v[(i64)row * width + i], compare);
    }
    if (compare && __syncthreads_or(differs) && threadIdx.x == 0) {
        args.changed[row] = 1;
    }
}
SIMT_KERNEL(store_kv);
