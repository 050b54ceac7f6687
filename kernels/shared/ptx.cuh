// The only inline PTX of the project: one instruction, one function. The host runner has a twin of each under the same
// name (tests/HostRunner/ptx_host.h) and one conformance test of each (tests/KvCuda.Tests/HostRunner).
// Shared-memory addresses are generic pointers; fragments are in the layouts of the PTX ISA, "mma.m16n8k16".
#pragma once
#include "shared/types.cuh"

#ifndef KVCUDA_HOST

#define PTX __device__ __forceinline__

// --- global memory ---

// 16 bytes that this kernel never writes and reads once: weights, keys, values. p is 16-byte aligned.
PTX uint4 ld_stream_16(const void* p) {
    uint4 v;
    asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(p));
    return v;
}

// 8 bytes likewise.
PTX uint2 ld_stream_8(const void* p) {
    uint2 v;
    asm volatile("ld.global.nc.L1::no_allocate.v2.u32 {%0, %1}, [%2];" : "=r"(v.x), "=r"(v.y) : "l"(p));
    return v;
}

// 4 bytes likewise.
PTX u32 ld_stream_4(const void* p) {
    u32 v;
    asm volatile("ld.global.nc.L1::no_allocate.u32 %0, [%1];" : "=r"(v) : "l"(p));
    return v;
}

// Asks for the cache line at p to be brought to L2.
PTX void prefetch_l2(const void* p) { asm volatile("prefetch.global.L2 [%0];" ::"l"(p)); }

// --- asynchronous copies, global to shared: issue, commit a group, wait until at most PENDING groups are under way ---

PTX u32 shared_address(const void* p) { return (u32)__cvta_generic_to_shared(p); }

// 16 bytes, both sides 16-byte aligned, through L2 only.
PTX void cp_async_16(void* shared, const void* global) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(shared)), "l"(global) : "memory");
}

// 16 bytes, kept in L1 as well: for data that other warps of the SM read again.
PTX void cp_async_16_l1(void* shared, const void* global) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 16;" ::"r"(shared_address(shared)), "l"(global) : "memory");
}

// 16 bytes if valid, else 16 zero bytes (global is then not read, but must still be a sensible pointer).
PTX void cp_async_16_or_zero(void* shared, const void* global, bool valid) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)), "l"(global), "r"(valid ? 16 : 0)
                 : "memory");
}

// 8 bytes, both sides 8-byte aligned.
PTX void cp_async_8(void* shared, const void* global) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 8;" ::"r"(shared_address(shared)), "l"(global) : "memory");
}

// 4 bytes, both sides 4-byte aligned.
PTX void cp_async_4(void* shared, const void* global) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(shared_address(shared)), "l"(global) : "memory");
}

PTX void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

template <int PENDING>
PTX void cp_async_wait() { asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory"); }

// --- tensor cores ---

// Four 8x8 matrices of 16-bit numbers: lanes 8i..8i+7 give the addresses of the 16-byte rows of matrix i;
// r[i] of lane l = numbers (l/4, 2*(l%4)) and (l/4, 2*(l%4)+1) of matrix i.
PTX void ldmatrix_x4(u32 (&r)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(row)) : "memory");
}

// The same, each matrix transposed.
PTX void ldmatrix_x4_trans(u32 (&r)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(row)) : "memory");
}

// Two matrices: lanes 0..15 give the addresses.
PTX void ldmatrix_x2(u32 (&r)[2], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
                 : "=r"(r[0]), "=r"(r[1]) : "r"(shared_address(row)) : "memory");
}

PTX void ldmatrix_x2_trans(u32 (&r)[2], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
                 : "=r"(r[0]), "=r"(r[1]) : "r"(shared_address(row)) : "memory");
}

// D (16x8 f32) += A (16x16, rows) * B (16x8, columns). With g = lane/4, c = 2*(lane%4), pairs at (row, column), (row, column+1):
// a[0] (g, c)  a[1] (g+8, c)  a[2] (g, c+8)  a[3] (g+8, c+8)   b[0] (c.., g)  b[1] (c+8.., g)   d[0..1] (g, c)  d[2..3] (g+8, c)
PTX void mma_16816_bf16(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

PTX void mma_16816_f16(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// --- formats: round to nearest even; NaN becomes 0x7FFF ---

PTX u16 cvt_bf16(float x) {
    u16 r;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(r) : "f"(x));
    return r;
}

PTX u16 cvt_f16(float x) {
    u16 r;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(r) : "f"(x));
    return r;
}

PTX float cvt_f32_from_f16(u16 x) {
    float r;
    asm("cvt.f32.f16 %0, %1;" : "=f"(r) : "h"(x));
    return r;
}

// low in bits 0..15, high in bits 16..31.
PTX u32 cvt_bf16x2(float low, float high) {
    u32 r;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
    return r;
}

PTX u32 cvt_f16x2(float low, float high) {
    u32 r;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
    return r;
}

// --- arithmetic ---

// 2^x, relative error about 2^-22; -inf gives +0.
PTX float ex2(float x) {
    float r;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
    return r;
}

// --- order between kernels and blocks ---

// Waits until the kernels this one depends on have finished (programmatic dependent launch). Every thread that reads
// what they wrote calls it; before it only weights may be read. Does nothing without the launch attribute.
PTX void grid_dependency_wait() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// Lets the next kernel begin its prologue.
PTX void grid_dependency_launch() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// Returns the old value; what this thread wrote or saw before is visible to who acquires the sum.
PTX u32 atom_add_acq_rel(u32* p, u32 value) {
    u32 old;
    asm volatile("atom.add.acq_rel.gpu.global.u32 %0, [%1], %2;" : "=r"(old) : "l"(p), "r"(value) : "memory");
    return old;
}

PTX void red_add_release(u32* p, u32 value) {
    asm volatile("red.release.gpu.global.add.u32 [%0], %1;" ::"l"(p), "r"(value) : "memory");
}

// note: the only load to spin on: the host runner lets other threads run here.
PTX u32 ld_acquire(const u32* p) {
    u32 v;
    asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(v) : "l"(p) : "memory");
    return v;
}

PTX void st_release(u32* p, u32 value) {
    asm volatile("st.release.gpu.global.u32 [%0], %1;" ::"l"(p), "r"(value) : "memory");
}

#undef PTX

#endif
