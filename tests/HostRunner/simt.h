// What a kernel sees instead of CUDA's built-in names when g++ compiles it for the host runner. Included before the
// kernel's first line, precompiled. Kernels stand in an anonymous namespace (nvrtc.cpp wraps them), and every host
// thread that runs blocks has its own copy of the compiled module: so `__shared__` is a static variable, and the module's
// .bss is the static shared memory, which the runner poisons before each block and watches. (A section of its own would be
// cleaner, but g++ 12 ignores that attribute in templates.)
#pragma once
#define KVCUDA_HOST 1
#ifdef KVCUDA_HOST_PLAIN
#define SIMT_FAST 1
#endif

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __grid_constant__
#define __restrict__ __restrict
#define __align__(n) __attribute__((aligned(n)))
#define __constant__ static const
#define __shared__ static
#define SMEM_DYN(name) unsigned char* const name = (unsigned char*)simt_pointer(&simt_block()->dynamic_shared)
#define __CUDA_ARCH__ 900

typedef unsigned long size_t;

struct uint3 { unsigned x, y, z; };
struct dim3 { unsigned x, y, z; };
struct int2 { int x, y; } __attribute__((aligned(8)));
struct int4 { int x, y, z, w; } __attribute__((aligned(16)));
struct uint2 { unsigned x, y; } __attribute__((aligned(8)));
struct uint4 { unsigned x, y, z, w; } __attribute__((aligned(16)));
struct float2 { float x, y; } __attribute__((aligned(8)));
struct float4 { float x, y, z, w; } __attribute__((aligned(16)));
static inline int2 make_int2(int x, int y) { return {x, y}; }
static inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
static inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
static inline float2 make_float2(float x, float y) { return {x, y}; }
static inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

// --- the running thread; the runner sets simt_self whenever it switches ---

struct SimtBlockView {
    uint3 index;
    uint3 block_dim;
    uint3 grid_dim;
    void* dynamic_shared;
};
struct SimtThreadView {
    uint3 index;
    unsigned lane;
    SimtBlockView* block;
};
extern "C" __attribute__((visibility("hidden"))) SimtThreadView* simt_self;

// note: loads in assembly, which the compiler's instrumentation does not see and which it may keep over a call: what a
// thread reads here never changes while it lives.
static inline const SimtThreadView* simt_thread() {
    const SimtThreadView* t;
    asm("movq simt_self(%%rip), %0" : "=r"(t));
    return t;
}
static inline unsigned simt_word(const unsigned* p) {
    unsigned v;
    asm("movl (%1), %0" : "=r"(v) : "r"(p));
    return v;
}
template <class T> static inline T* simt_pointer(T* const* p) {
    T* v;
    asm("movq (%1), %0" : "=r"(v) : "r"(p));
    return v;
}
static inline uint3 simt_words(const uint3* p) { return {simt_word(&p->x), simt_word(&p->y), simt_word(&p->z)}; }
static inline const SimtBlockView* simt_block() { return simt_pointer((const SimtBlockView* const*)&simt_thread()->block); }
#define threadIdx (simt_words(&simt_thread()->index))
#define blockIdx (simt_words(&simt_block()->index))
#define blockDim (simt_words(&simt_block()->block_dim))
#define gridDim (simt_words(&simt_block()->grid_dim))
static constexpr int warpSize = 32;

// Where a call stands, for messages and for telling two barriers apart.
#define SIMT_WHERE const char *file = __builtin_FILE(), int line = __builtin_LINE()

enum SimtShuffle { SIMT_INDEX, SIMT_UP, SIMT_DOWN, SIMT_XOR };
enum SimtVote { SIMT_BALLOT, SIMT_ANY, SIMT_ALL, SIMT_MATCH, SIMT_ADD, SIMT_MIN, SIMT_MAX, SIMT_UMIN, SIMT_UMAX, SIMT_AND, SIMT_OR, SIMT_XOR_BITS };
enum SimtAtomic { SIMT_A_ADD, SIMT_A_ADD_F32, SIMT_A_MIN, SIMT_A_MAX, SIMT_A_UMIN, SIMT_A_UMAX, SIMT_A_AND, SIMT_A_OR, SIMT_A_XOR, SIMT_A_EXCHANGE, SIMT_A_CAS, SIMT_A_LOAD, SIMT_A_STORE };
enum SimtOrder { SIMT_RELAXED, SIMT_ACQUIRE, SIMT_RELEASE, SIMT_ACQ_REL };

extern "C" {
int simt_barrier(int kind, int predicate, const char* file, int line); // kind 0 plain, 1 count, 2 and, 3 or
void simt_syncwarp(unsigned mask, const char* file, int line);
unsigned long long simt_shuffle(int kind, unsigned mask, unsigned long long value, int operand, int width, const char* file, int line);
unsigned simt_vote(int kind, unsigned mask, unsigned value, const char* file, int line);
float simt_reduce_f32(int maximum, float value, int group, const char* file, int line);
void simt_mma(int bf16, float* d, const unsigned* a, unsigned b0, unsigned b1, const char* file, int line);
void simt_ldmatrix(int matrices, int transposed, unsigned* r, const void* row, const char* file, int line);
void simt_cp_async(void* shared, const void* global, int bytes, int source_bytes);
void simt_cp_commit();
void simt_cp_wait(int pending);
unsigned simt_shared_address(const void* p);
void simt_wgmma(float* d, unsigned long long a, unsigned long long b, const char* file, int line);
void simt_wgmma_commit();
void simt_wgmma_wait(int pending, const char* file, int line);
unsigned simt_atomic32(int op, int order, void* p, unsigned value, unsigned compare);
unsigned long long simt_atomic64(int op, int order, void* p, unsigned long long value, unsigned long long compare);
void simt_fence();
void simt_yield();
void simt_prefetch(const void* p);
[[noreturn]] void simt_trap(const char* what, const char* file, int line);
void simt_module(SimtThreadView** self, void* shared_begin, void* shared_end);
void simt_register(const char* name, void (*thunk)(void**), int parameters, const unsigned* sizes, const unsigned* alignments);
int printf(const char*, ...);
}

// --- barriers, votes, shuffles ---

static inline void __syncthreads(SIMT_WHERE) { simt_barrier(0, 0, file, line); }
static inline int __syncthreads_count(int p, SIMT_WHERE) { return simt_barrier(1, p, file, line); }
static inline int __syncthreads_and(int p, SIMT_WHERE) { return simt_barrier(2, p, file, line); }
static inline int __syncthreads_or(int p, SIMT_WHERE) { return simt_barrier(3, p, file, line); }
static inline void __syncwarp(unsigned mask = 0xFFFFFFFFu, SIMT_WHERE) { simt_syncwarp(mask, file, line); }
static inline unsigned __ballot_sync(unsigned mask, int p, SIMT_WHERE) { return simt_vote(SIMT_BALLOT, mask, p != 0, file, line); }
static inline int __any_sync(unsigned mask, int p, SIMT_WHERE) { return (int)simt_vote(SIMT_ANY, mask, p != 0, file, line); }
static inline int __all_sync(unsigned mask, int p, SIMT_WHERE) { return (int)simt_vote(SIMT_ALL, mask, p != 0, file, line); }
static inline unsigned __match_any_sync(unsigned mask, unsigned v, SIMT_WHERE) { return simt_vote(SIMT_MATCH, mask, v, file, line); }
static inline unsigned __reduce_add_sync(unsigned mask, unsigned v, SIMT_WHERE) { return simt_vote(SIMT_ADD, mask, v, file, line); }
static inline unsigned __reduce_min_sync(unsigned mask, unsigned v, SIMT_WHERE) { return simt_vote(SIMT_UMIN, mask, v, file, line); }
static inline unsigned __reduce_max_sync(unsigned mask, unsigned v, SIMT_WHERE) { return simt_vote(SIMT_UMAX, mask, v, file, line); }
static inline int __reduce_add_sync(unsigned mask, int v, SIMT_WHERE) { return (int)simt_vote(SIMT_ADD, mask, (unsigned)v, file, line); }
static inline int __reduce_min_sync(unsigned mask, int v, SIMT_WHERE) { return (int)simt_vote(SIMT_MIN, mask, (unsigned)v, file, line); }
static inline int __reduce_max_sync(unsigned mask, int v, SIMT_WHERE) { return (int)simt_vote(SIMT_MAX, mask, (unsigned)v, file, line); }
static inline unsigned __reduce_and_sync(unsigned mask, unsigned v, SIMT_WHERE) { return simt_vote(SIMT_AND, mask, v, file, line); }
static inline unsigned __reduce_or_sync(unsigned mask, unsigned v, SIMT_WHERE) { return simt_vote(SIMT_OR, mask, v, file, line); }
static inline unsigned __activemask() { return 0xFFFFFFFFu; }

template <class T>
static inline T simt_shuffle_as(int kind, unsigned mask, T value, int operand, int width, const char* file, int line) {
    static_assert(sizeof(T) <= 8, "a shuffle moves at most 8 bytes");
    unsigned long long bits = 0;
    __builtin_memcpy(&bits, &value, sizeof(T));
    bits = simt_shuffle(kind, mask, bits, operand, width, file, line);
    __builtin_memcpy(&value, &bits, sizeof(T));
    return value;
}
template <class T> static inline T __shfl_sync(unsigned mask, T v, int lane, int width = 32, SIMT_WHERE) { return simt_shuffle_as(SIMT_INDEX, mask, v, lane, width, file, line); }
template <class T> static inline T __shfl_up_sync(unsigned mask, T v, unsigned by, int width = 32, SIMT_WHERE) { return simt_shuffle_as(SIMT_UP, mask, v, (int)by, width, file, line); }
template <class T> static inline T __shfl_down_sync(unsigned mask, T v, unsigned by, int width = 32, SIMT_WHERE) { return simt_shuffle_as(SIMT_DOWN, mask, v, (int)by, width, file, line); }
template <class T> static inline T __shfl_xor_sync(unsigned mask, T v, int with, int width = 32, SIMT_WHERE) { return simt_shuffle_as(SIMT_XOR, mask, v, with, width, file, line); }

// warp.cuh's butterflies in one meeting of the lanes, with the same order of additions.
static inline float simt_warp_sum(float v, int group = 32, SIMT_WHERE) { return simt_reduce_f32(0, v, group, file, line); }
static inline float simt_warp_max(float v, int group = 32, SIMT_WHERE) { return simt_reduce_f32(1, v, group, file, line); }

// --- atomics: relaxed, as in CUDA ---

template <class To, class From> static inline To simt_bits(From v) {
    static_assert(sizeof(To) == sizeof(From), "");
    To to;
    __builtin_memcpy(&to, &v, sizeof to);
    return to;
}
#define SIMT_ATOMIC(name, type, size, word, op)                                                              \
    static inline type name(type* p, type v) {                                                               \
        return simt_bits<type>(simt_atomic##size(op, SIMT_RELAXED, p, simt_bits<word>(v), 0));               \
    }
SIMT_ATOMIC(atomicAdd, int, 32, unsigned, SIMT_A_ADD)
SIMT_ATOMIC(atomicAdd, unsigned, 32, unsigned, SIMT_A_ADD)
SIMT_ATOMIC(atomicAdd, float, 32, unsigned, SIMT_A_ADD_F32)
SIMT_ATOMIC(atomicAdd, unsigned long long, 64, unsigned long long, SIMT_A_ADD)
SIMT_ATOMIC(atomicMin, int, 32, unsigned, SIMT_A_MIN)
SIMT_ATOMIC(atomicMin, unsigned, 32, unsigned, SIMT_A_UMIN)
SIMT_ATOMIC(atomicMax, int, 32, unsigned, SIMT_A_MAX)
SIMT_ATOMIC(atomicMax, unsigned, 32, unsigned, SIMT_A_UMAX)
SIMT_ATOMIC(atomicMax, unsigned long long, 64, unsigned long long, SIMT_A_UMAX)
SIMT_ATOMIC(atomicMin, unsigned long long, 64, unsigned long long, SIMT_A_UMIN)
SIMT_ATOMIC(atomicAnd, unsigned, 32, unsigned, SIMT_A_AND)
SIMT_ATOMIC(atomicOr, unsigned, 32, unsigned, SIMT_A_OR)
SIMT_ATOMIC(atomicOr, int, 32, unsigned, SIMT_A_OR)
SIMT_ATOMIC(atomicXor, unsigned, 32, unsigned, SIMT_A_XOR)
SIMT_ATOMIC(atomicExch, int, 32, unsigned, SIMT_A_EXCHANGE)
SIMT_ATOMIC(atomicExch, unsigned, 32, unsigned, SIMT_A_EXCHANGE)
SIMT_ATOMIC(atomicExch, float, 32, unsigned, SIMT_A_EXCHANGE)
static inline unsigned atomicSub(unsigned* p, unsigned v) { return atomicAdd(p, 0u - v); }
static inline int atomicSub(int* p, int v) { return (int)atomicAdd((unsigned*)p, 0u - (unsigned)v); }
static inline unsigned atomicCAS(unsigned* p, unsigned compare, unsigned v) { return simt_atomic32(SIMT_A_CAS, SIMT_RELAXED, p, v, compare); }
static inline int atomicCAS(int* p, int compare, int v) { return (int)simt_atomic32(SIMT_A_CAS, SIMT_RELAXED, p, (unsigned)v, (unsigned)compare); }
static inline unsigned long long atomicCAS(unsigned long long* p, unsigned long long compare, unsigned long long v) { return simt_atomic64(SIMT_A_CAS, SIMT_RELAXED, p, v, compare); }
static inline void __threadfence() { simt_fence(); }
static inline void __threadfence_block() {}
static inline void __threadfence_system() { simt_fence(); }
static inline void __nanosleep(unsigned) { simt_yield(); }
[[noreturn]] static inline void __trap(SIMT_WHERE) { simt_trap("__trap()", file, line); }
#define assert(condition) ((condition) ? (void)0 : simt_trap("assertion failed: " #condition, __FILE__, __LINE__))

// --- memory and bits ---

template <class T> static inline T __ldg(const T* p) { return *p; }
template <class T> static inline T __ldcs(const T* p) { return *p; }
template <class T> static inline T __ldcg(const T* p) { return *p; }
template <class T> static inline void __stcs(T* p, T v) { *p = v; }
template <class T> static inline void __stcg(T* p, T v) { *p = v; }
static inline unsigned __float_as_uint(float v) { return simt_bits<unsigned>(v); }
static inline int __float_as_int(float v) { return simt_bits<int>(v); }
static inline float __uint_as_float(unsigned v) { return simt_bits<float>(v); }
static inline float __int_as_float(int v) { return simt_bits<float>(v); }
static inline long long __double_as_longlong(double v) { return simt_bits<long long>(v); }
static inline double __longlong_as_double(long long v) { return simt_bits<double>(v); }
static inline int __popc(unsigned v) { return __builtin_popcount(v); }
static inline int __popcll(unsigned long long v) { return __builtin_popcountll(v); }
static inline int __clz(int v) { return v == 0 ? 32 : __builtin_clz((unsigned)v); }
static inline int __clzll(long long v) { return v == 0 ? 64 : __builtin_clzll((unsigned long long)v); }
static inline int __ffs(int v) { return __builtin_ffs(v); }
static inline unsigned __brev(unsigned v) {
    unsigned r = 0;
    for (int i = 0; i < 32; i++) r |= ((v >> i) & 1u) << (31 - i);
    return r;
}
static inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)(((unsigned long long)a * b) >> 32); }
static inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) { return (unsigned long long)(((unsigned __int128)a * b) >> 64); }
static inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned by) { return (unsigned)((((unsigned long long)high << 32) | low) >> (by & 31)); }
static inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned by) { return (unsigned)(((((unsigned long long)high << 32) | low) << (by & 31)) >> 32); }
static inline unsigned __byte_perm(unsigned x, unsigned y, unsigned selector) {
    unsigned long long both = ((unsigned long long)y << 32) | x;
    unsigned r = 0;
    for (int i = 0; i < 4; i++) r |= (unsigned)((both >> (8 * ((selector >> (4 * i)) & 7))) & 0xFF) << (8 * i);
    return r;
}
static inline long long clock64() { return (long long)__builtin_ia32_rdtsc(); }

// --- arithmetic: libm's functions stand for CUDA's, which differ by an ulp or two ---

extern "C" {
#define SIMT_MATH(name) float name##f(float) noexcept; double name(double) noexcept;
SIMT_MATH(exp) SIMT_MATH(exp2) SIMT_MATH(log) SIMT_MATH(log2) SIMT_MATH(log10) SIMT_MATH(log1p) SIMT_MATH(expm1) SIMT_MATH(sin)
SIMT_MATH(cos) SIMT_MATH(tan) SIMT_MATH(tanh) SIMT_MATH(erf) SIMT_MATH(sqrt) SIMT_MATH(floor) SIMT_MATH(ceil) SIMT_MATH(rint)
SIMT_MATH(round) SIMT_MATH(trunc) SIMT_MATH(fabs)
#undef SIMT_MATH
float powf(float, float) noexcept;
double pow(double, double) noexcept;
float fmodf(float, float) noexcept;
float fmaf(float, float, float) noexcept;
double fma(double, double, double) noexcept;
float fmaxf(float, float) noexcept;
float fminf(float, float) noexcept;
double fmax(double, double) noexcept;
double fmin(double, double) noexcept;
float copysignf(float, float) noexcept;
float ldexpf(float, int) noexcept;
void sincosf(float, float*, float*) noexcept;
void sincos(double, double*, double*) noexcept;
int abs(int) noexcept;
}
static inline float rsqrtf(float x) { return (float)(1.0 / __builtin_sqrt((double)x)); }
static inline double rsqrt(double x) { return 1.0 / __builtin_sqrt(x); }
static inline float __expf(float x) { return expf(x); }
static inline float __exp2f(float x) { return exp2f(x); }
static inline float __logf(float x) { return logf(x); }
static inline float __log2f(float x) { return log2f(x); }
static inline float __sinf(float x) { return sinf(x); }
static inline float __cosf(float x) { return cosf(x); }
static inline float __fdividef(float a, float b) { return a / b; }
static inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fsub_rn(float a, float b) { return a - b; }
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fdiv_rn(float a, float b) { return a / b; }
static inline float __frcp_rn(float a) { return 1.0f / a; }
static inline float __fsqrt_rn(float a) { return __builtin_sqrtf(a); }
static inline float __frsqrt_rn(float a) { return rsqrtf(a); }
static inline double __dadd_rn(double a, double b) { return a + b; }
static inline double __dmul_rn(double a, double b) { return a * b; }
static inline int __float2int_rn(float x) { return (int)__builtin_rintf(x); }
static inline int __float2int_rd(float x) { return (int)__builtin_floorf(x); }
static inline int __float2int_rz(float x) { return (int)x; }
static inline unsigned long long __float2ull_rn(float x) { return (unsigned long long)__builtin_llrintf(x); }
static inline float __int2float_rn(int x) { return (float)x; }
static inline float __uint2float_rn(unsigned x) { return (float)x; }
static inline bool isnan(float x) { return x != x; }
static inline bool isinf(float x) { return __builtin_isinf(x); }
static inline bool isfinite(float x) { return __builtin_isfinite(x); }
static inline int min(int a, int b) { return b < a ? b : a; }
static inline int max(int a, int b) { return a < b ? b : a; }
static inline unsigned min(unsigned a, unsigned b) { return b < a ? b : a; }
static inline unsigned max(unsigned a, unsigned b) { return a < b ? b : a; }
static inline unsigned min(int a, unsigned b) { return min((unsigned)a, b); }
static inline unsigned min(unsigned a, int b) { return min(a, (unsigned)b); }
static inline unsigned max(int a, unsigned b) { return max((unsigned)a, b); }
static inline unsigned max(unsigned a, int b) { return max(a, (unsigned)b); }
static inline long long min(long long a, long long b) { return b < a ? b : a; }
static inline long long max(long long a, long long b) { return a < b ? b : a; }
static inline unsigned long long min(unsigned long long a, unsigned long long b) { return b < a ? b : a; }
static inline unsigned long long max(unsigned long long a, unsigned long long b) { return a < b ? b : a; }
static inline float min(float a, float b) { return fminf(a, b); }
static inline float max(float a, float b) { return fmaxf(a, b); }
static inline double min(double a, double b) { return fmin(a, b); }
static inline double max(double a, double b) { return fmax(a, b); }

// --- kernels: each tells the runner how to be called with the driver's void** ---

template <int... I> struct SimtIndices {};
template <int N, int... I> struct SimtCount : SimtCount<N - 1, N - 1, I...> {};
template <int... I> struct SimtCount<0, I...> { typedef SimtIndices<I...> type; };
template <class T> struct SimtValue { typedef T type; };
template <class T> struct SimtValue<const T> { typedef T type; };

template <auto KERNEL> struct SimtThunk;
template <class... A, void (*KERNEL)(A...)> struct SimtThunk<KERNEL> {
    template <int... I> __attribute__((no_sanitize("thread"))) static inline void call(void** p, SimtIndices<I...>) { KERNEL(*(typename SimtValue<A>::type*)p[I]...); }
    __attribute__((no_sanitize("thread"))) static void run(void** p) { call(p, typename SimtCount<(int)sizeof...(A)>::type()); }
    static void announce(const char* name) {
        static const unsigned sizes[] = {(unsigned)sizeof(A)..., 0}, alignments[] = {(unsigned)alignof(A)..., 0};
        simt_register(name, run, (int)sizeof...(A), sizes, alignments);
    }
};
#define SIMT_KERNEL(name) \
    __attribute__((constructor)) static void simt_announce_##name() { SimtThunk<&name>::announce(#name); } \
    static_assert(true, "")

#include "ptx_host.h"
