// zero_kv: K[sequence(r), position(r)] = 0, V[...] = 0: where the study's iterative prefill starts
//
//   positions, sequences : (rows) i32; rows of a negative sequence are padding
//   launch : one block per row, each thread every THREADS-th number
//   moves  : 2 * kv_heads * HEAD_DIM * sizeof(KV) bytes per row
#include "shared/kv_layout.cuh"
#include "shared/numeric.cuh"

struct ZeroKvArgs {
    KvPages    kv;
    const i32* positions;  // (rows)
    const i32* sequences;  // (rows)
    i32        kv_heads;
    i32        unused;
};

extern "C" __global__ void __launch_bounds__(THREADS)
zero_kv(const __grid_constant__ ZeroKvArgs args) {
    const i32 row = blockIdx.x, sequence = args.sequences[row], position = args.positions[row];
    if (sequence < 0) {
        return;
    }
    const KvLayout layout{PAGE_TOKENS, args.kv_heads, HEAD_DIM, 8 * sizeof(KV)};
    const i32 page = args.kv.page(sequence, position, PAGE_TOKENS);
    for (i32 i = threadIdx.x; i < args.kv_heads * HEAD_DIM; i += THREADS) {
        u8* key = args.kv.arena + layout.key_offset(page, args.kv.layer_offset, i / HEAD_DIM, position % PAGE_TOKENS);
        ((KV*)key)[i % HEAD_DIM] = from_f32<KV>(0);
        ((KV*)(key + layout.value_bytes()))[i % HEAD_DIM] = from_f32<KV>(0);
    }
}
SIMT_KERNEL(zero_kv);
