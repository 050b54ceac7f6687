// Where the keys and values of one layer are: the arithmetic of src/KvCuda/Tensors/KvPageShape.cs. Pages of
// page_tokens tokens in the arena, each [layer][K|V][kv head][token][head dim]: one head's keys of one page are one run.
#pragma once
#include "shared/types.cuh"

#define KV_GRANULE_BYTES 128 // unit of the page table's entries

// The shape within a page; constexpr, so that a kernel can be compiled with a static_assert of C#'s own numbers.
struct KvLayout {
    i32 page_tokens; // a power of two
    i32 kv_heads;
    i32 head_dim;
    i32 element_bits; // 4, 8, 16 or 32

    // bytes of one head of one token
    __host__ __device__ constexpr i32 row_bytes() const { return head_dim * element_bits / 8; }

    // bytes from the first to the next kv head
    __host__ __device__ constexpr i64 head_bytes() const { return (i64)page_tokens * row_bytes(); }

    // bytes from a layer's keys to its values
    __host__ __device__ constexpr i64 value_bytes() const { return kv_heads * head_bytes(); }

    // bytes from the arena to K[head, token of the page]; page is the page table's entry, layer_offset is KvView.LayerOffset
    __host__ __device__ constexpr i64 key_offset(i32 page, i64 layer_offset, i32 head, i32 token) const {
        return (i64)page * KV_GRANULE_BYTES + layer_offset + head * head_bytes() + (i64)token * row_bytes();
    }

    // the same for V
    __host__ __device__ constexpr i64 value_offset(i32 page, i64 layer_offset, i32 head, i32 token) const {
        return key_offset(page, layer_offset, head, token) + value_bytes();
    }

    // swizzled order: where a 16-byte piece of a token's row lies, in pieces from the row's start; its own inverse
    __host__ __device__ constexpr i32 swizzled(i32 token, i32 piece) const {
        i32 pieces = row_bytes() / 16, even = pieces & -pieces, apart = even < 8 ? even : 8;
        return piece ^ ((token * apart / 8) & (apart - 1));
    }
};

// The run-time half of KvView, a member of the kernels' argument structs (C#: three pointers-sized fields, one int, one int of padding).
struct KvPages {
    u8* arena;
    const i32* page_table; // (sequences, table_columns): pages in granules, -1 where there is none
    i64 layer_offset;      // bytes
    i32 table_columns;
    i32 unused;

    __device__ __forceinline__ i32 page(i32 sequence, i32 token, i32 page_tokens) const {
        return page_table[(i64)sequence * table_columns + token / page_tokens];
    }
};
