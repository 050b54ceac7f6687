// What nvrtcGetCUBIN gives and cuModuleLoadData takes: this header, then a shared object.
#pragma once
#include <cstdint>

struct ImageHeader {
    char magic[8]; // "KVCUDAH1"
    uint32_t checked;
    uint32_t wide; // needs AVX2, FMA and F16C
    uint64_t bytes;
};
constexpr char kImageMagic[8] = {'K', 'V', 'C', 'U', 'D', 'A', 'H', '1'};
