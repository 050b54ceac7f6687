// The twins of kernels/shared/ptx.cuh: same names, same meaning, written from the PTX ISA's text.
#pragma once

// --- global memory ---

static inline uint4 ld_stream_16(const void* p) { return *(const uint4*)p; }
static inline uint2 ld_stream_8(const void* p) { return *(const uint2*)p; }
static inline unsigned ld_stream_4(const void* p) { return *(const unsigned*)p; }
static inline void prefetch_l2(const void* p) { simt_prefetch(p); }

// --- asynchronous copies: the runner holds the bytes back until the wait ---

static inline void cp_async_16(void* shared, const void* global) { simt_cp_async(shared, global, 16, 16); }
static inline void cp_async_16_l1(void* shared, const void* global) { simt_cp_async(shared, global, 16, 16); }
static inline void cp_async_16_or_zero(void* shared, const void* global, bool valid) { simt_cp_async(shared, global, 16, valid ? 16 : 0); }
static inline void cp_async_8(void* shared, const void* global) { simt_cp_async(shared, global, 8, 8); }
static inline void cp_async_4(void* shared, const void* global) { simt_cp_async(shared, global, 4, 4); }
static inline void cp_async_commit() { simt_cp_commit(); }
template <int PENDING> static inline void cp_async_wait() { simt_cp_wait(PENDING); }

// --- tensor cores ---

static inline void ldmatrix_x4(unsigned (&r)[4], const void* row, SIMT_WHERE) { simt_ldmatrix(4, 0, r, row, file, line); }
static inline void ldmatrix_x4_trans(unsigned (&r)[4], const void* row, SIMT_WHERE) { simt_ldmatrix(4, 1, r, row, file, line); }
static inline void ldmatrix_x2(unsigned (&r)[2], const void* row, SIMT_WHERE) { simt_ldmatrix(2, 0, r, row, file, line); }
static inline void ldmatrix_x2_trans(unsigned (&r)[2], const void* row, SIMT_WHERE) { simt_ldmatrix(2, 1, r, row, file, line); }
static inline void mma_16816_bf16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], SIMT_WHERE) { simt_mma(1, d, a, b[0], b[1], file, line); }
static inline void mma_16816_f16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], SIMT_WHERE) { simt_mma(0, d, a, b[0], b[1], file, line); }

// --- tensor cores of sm_90a: a product happens at its wait ---

static inline unsigned shared_address(const void* p) { return simt_shared_address(p); }
static inline void fence_proxy_async() {}
static inline void wgmma_fence() {}
static inline void wgmma_commit() { simt_wgmma_commit(); }
template <int PENDING> static inline void wgmma_wait(SIMT_WHERE) { simt_wgmma_wait(PENDING, file, line); }
static inline unsigned long long swizzled_lines(const void* p) {
    return (unsigned long long)(shared_address(p) >> 4 & 0x3FFF) | 1ull << 16 | 64ull << 32 | 1ull << 62;
}
static inline void wgmma_m64n128k16_bf16(float (&d)[64], unsigned long long a, unsigned long long b, SIMT_WHERE) { simt_wgmma(d, a, b, file, line); }

// --- formats ---

static inline unsigned short cvt_bf16(float x) {
    unsigned bits = __float_as_uint(x);
    if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return 0x7FFF;
    return (unsigned short)((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}
static inline unsigned short cvt_f16(float x) { return x != x ? (unsigned short)0x7FFF : simt_bits<unsigned short>((_Float16)x); }
static inline float cvt_f32_from_f16(unsigned short x) { return (float)simt_bits<_Float16>(x); }
static inline unsigned cvt_bf16x2(float low, float high) { return (unsigned)cvt_bf16(low) | (unsigned)cvt_bf16(high) << 16; }
static inline unsigned cvt_f16x2(float low, float high) { return (unsigned)cvt_f16(low) | (unsigned)cvt_f16(high) << 16; }

// --- arithmetic ---

// Denormal inputs and results are zero (ftz).
static inline float ex2(float x) {
    float y = exp2f(x);
    return y < 1.17549435e-38f ? 0.0f : y;
}

// --- order between kernels and blocks ---

static inline void grid_dependency_wait() {}
static inline void grid_dependency_launch() {}
static inline unsigned atom_add_acq_rel(unsigned* p, unsigned value) { return simt_atomic32(SIMT_A_ADD, SIMT_ACQ_REL, p, value, 0); }
static inline void red_add_release(unsigned* p, unsigned value) { simt_atomic32(SIMT_A_ADD, SIMT_RELEASE, p, value, 0); }
static inline unsigned ld_acquire(const unsigned* p) {
    unsigned v = simt_atomic32(SIMT_A_LOAD, SIMT_ACQUIRE, (void*)p, 0, 0);
    simt_yield();
    return v;
}
static inline void st_release(unsigned* p, unsigned value) { simt_atomic32(SIMT_A_STORE, SIMT_RELEASE, p, value, 0); }
