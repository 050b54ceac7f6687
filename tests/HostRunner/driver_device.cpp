// libcuda's names: the device and contexts.
#include "driver.h"
#include <cstring>

namespace {

int primaryUsers = 0;
Context* primary = nullptr;

void destroyContext(Context* c) {
    drain(c);
    freeAllOf(c);
    contexts.drop(c);
}
} // namespace

EXPORT int cuInit(unsigned) {
    std::lock_guard<std::recursive_mutex> guard(api);
    if (!arenaInit()) {
        return error(OutOfMemory, "no address space for device memory");
    }
    initialised = true;
    return Success;
}
EXPORT int cuDriverGetVersion(int* version) { *version = 12040; return Success; }
EXPORT int cuDeviceGetCount(int* count) { *count = 1; return Success; }
EXPORT int cuDeviceGet(int* device, int ordinal) {
    *device = ordinal;
    return ordinal == 0 ? Success : error(InvalidValue, "the host runner has one device, 0");
}
EXPORT int cuDeviceGetName(char* name, int size, int) {
    snprintf(name, (size_t)size, "host runner (%s)", kChecked ? "checked" : "plain");
    return Success;
}
EXPORT int cuDeviceGetUuid(char* uuid, int) { memcpy(uuid, "kvcuda-host-0000", 16); return Success; }
EXPORT int cuDeviceGetUuid_v2(char* uuid, int device) { return cuDeviceGetUuid(uuid, device); }
EXPORT int cuDeviceTotalMem_v2(size_t* bytes, int) { *bytes = (size_t)8 << 30; return Success; }
EXPORT int cuDeviceGetAttribute(int* value, int attribute, int) {
    switch (attribute) {
    case 1: *value = 1024; break;                         // MAX_THREADS_PER_BLOCK
    case 2: case 3: *value = 1024; break;                 // MAX_BLOCK_DIM_X, Y
    case 4: *value = 64; break;
    case 5: *value = 0x7FFFFFFF; break;                   // MAX_GRID_DIM_X
    case 6: case 7: *value = 65535; break;
    case 8: *value = 48 * 1024; break;                    // MAX_SHARED_MEMORY_PER_BLOCK
    case 10: *value = 32; break;                          // WARP_SIZE
    case 12: case 82: *value = 65536; break;              // MAX_REGISTERS_PER_BLOCK, PER_MULTIPROCESSOR
    case 13: case 36: *value = 1000000; break;            // CLOCK_RATE, MEMORY_CLOCK_RATE in kHz
    case 16: *value = (int)options.multiprocessors; break; // MULTIPROCESSOR_COUNT
    case 31: case 32: case 41: *value = 1; break;         // CONCURRENT_KERNELS, ECC, UNIFIED_ADDRESSING
    case 37: *value = 64; break;                          // GLOBAL_MEMORY_BUS_WIDTH
    case 38: *value = 4 << 20; break;                     // L2_CACHE_SIZE
    case 39: *value = 2048; break;                        // MAX_THREADS_PER_MULTIPROCESSOR
    case 75: *value = 9; break;                           // COMPUTE_CAPABILITY_MAJOR
    case 76: *value = 0; break;
    case 81: *value = 228 * 1024; break;                  // MAX_SHARED_MEMORY_PER_MULTIPROCESSOR
    case 95: *value = 1; break;                           // COOPERATIVE_LAUNCH
    case 97: *value = 227 * 1024; break;                  // MAX_SHARED_MEMORY_PER_BLOCK_OPTIN
    case 106: *value = 32; break;                         // MAX_BLOCKS_PER_MULTIPROCESSOR
    default: *value = 0; break;
    }
    return Success;
}

EXPORT int cuDevicePrimaryCtxRetain(Context** c, int) {
    std::lock_guard<std::recursive_mutex> guard(api);
    if (!initialised) {
        return error(NotInitialized, "cuInit was not called");
    }
    if (primary == nullptr) {
        primary = contexts.add(new Context);
        primary->primary = true;
    }
    primaryUsers++;
    *c = primary;
    return Success;
}

EXPORT int cuDevicePrimaryCtxReset_v2(int) {
    std::lock_guard<std::recursive_mutex> guard(api);
    if (primary != nullptr) {
        drain();
        freeAllOf(primary);
        primary->broken = Success;
    }
    return Success;
}
EXPORT int cuDevicePrimaryCtxRelease_v2(int) {
    std::lock_guard<std::recursive_mutex> guard(api);
    if (primaryUsers == 0) {
        return error(InvalidContext, "the primary context is not retained");
    }
    if (--primaryUsers == 0) {
        destroyContext(primary);
        primary = nullptr;
    }
    return Success;
}
EXPORT int cuCtxCreate_v2(Context** c, unsigned, int) {
    std::lock_guard<std::recursive_mutex> guard(api);
    if (!initialised) {
        return error(NotInitialized, "cuInit was not called");
    }
    *c = contexts.add(new Context);
    current.push_back(*c);
    return Success;
}
EXPORT int cuCtxDestroy_v2(Context* c) {
    std::lock_guard<std::recursive_mutex> guard(api);
    if (!contexts.has(c)) {
        return error(InvalidContext, "not a context");
    }
    if (!current.empty() && current.back() == c) {
        current.pop_back();
    }
    destroyContext(c);
    return Success;
}
EXPORT int cuCtxPushCurrent_v2(Context* c) {
    std::lock_guard<std::recursive_mutex> guard(api);
    if (!contexts.has(c)) {
        return error(InvalidContext, "not a context");
    }
    current.push_back(c);
    return Success;
}
EXPORT int cuCtxPopCurrent_v2(Context** c) {
    if (current.empty()) {
        return error(InvalidContext, "the thread has no current context");
    }
    if (c != nullptr) {
        *c = current.back();
    }
    current.pop_back();
    return Success;
}
EXPORT int cuCtxSetCurrent(Context* c) {
    std::lock_guard<std::recursive_mutex> guard(api);
    if (c != nullptr && !contexts.has(c)) {
        return error(InvalidContext, "not a context");
    }
    if (!current.empty()) {
        current.pop_back();
    }
    if (c != nullptr) {
        current.push_back(c);
    }
    return Success;
}
EXPORT int cuCtxGetCurrent(Context** c) { *c = current.empty() ? nullptr : current.back(); return Success; }
EXPORT int cuCtxGetDevice(int* device) {
    *device = 0;
    return current.empty() ? error(InvalidContext, "the thread has no current context") : Success;
}
EXPORT int cuCtxSynchronize() {
    CURRENT;
    return synchronise(context, nullptr);
}
