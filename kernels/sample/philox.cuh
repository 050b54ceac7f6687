// The first word of Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") for the key
// (key_low, key_high) and the counter (counter, 0, 0, 0).
#pragma once
#include "shared/types.cuh"

__device__ __forceinline__ u32 philox(u32 key_low, u32 key_high, u32 counter) {
    u32 c0 = counter, c1 = 0, c2 = 0, c3 = 0;
#pragma unroll
    for (int round = 0; round < 10; round++) {
        const u64 a = (u64)0xD2511F53u * c0, b = (u64)0xCD9E8D57u * c2;
        c0 = (u32)(b >> 32) ^ c1 ^ key_low;
        c1 = (u32)b;
        c2 = (u32)(a >> 32) ^ c3 ^ key_high;
        c3 = (u32)a;
        key_low += 0x9E3779B9u;
        key_high += 0xBB67AE85u;
    }
    return c0;
}
