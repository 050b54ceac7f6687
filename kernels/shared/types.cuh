// Numbers, and the three words in which the host runner (tests/HostRunner) differs from a GPU. Every kernel includes this.
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef int i32;
typedef long long i64;

struct bf16 { u16 bits; }; // the upper half of an f32
struct f16 { u16 bits; };  // IEEE 754 binary16

#ifndef KVCUDA_HOST

// The launch's dynamic shared memory as `unsigned char name[]`, 128-byte aligned: `SMEM_DYN(smem);`
#define SMEM_DYN(name) extern __shared__ __align__(128) unsigned char name[]

// Stands after every kernel; tells the host runner its name and parameters.
#define SIMT_KERNEL(name)

#endif
