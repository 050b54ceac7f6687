// libcuda's names: memory, copies and fills.
#include "driver.h"

namespace {

Result copy(Stream* s, uintptr_t to, uintptr_t from, size_t n) {
    CURRENT;
    if (n == 0) {
        return Success;
    }
    if (to == 0 || from == 0) {
        return error(InvalidValue, "a copy from or to a null pointer");
    }
    if (options.fail_copy_bytes > 0 && n == (size_t)options.fail_copy_bytes) {
        return error(InvalidValue, format("a copy of %zu bytes, which are to fail", n));
    }
    Op op{Copy, {}, to, from, n};
    return submit(context, s, std::move(op));
}

Result fill(Stream* s, uintptr_t to, uint32_t value, int width, size_t count) {
    CURRENT;
    if (count == 0) {
        return Success;
    }
    Op op{Fill, {}, to, 0, count * (size_t)width, value, width};
    return submit(context, s, std::move(op));
}

} // namespace

EXPORT int cuMemGetInfo_v2(size_t* free, size_t* total) {
    CURRENT;
    *total = (size_t)8 << 30;
    *free = *total - deviceBytesInUse();
    return Success;
}
EXPORT int cuMemAlloc_v2(uintptr_t* p, size_t bytes) {
    CURRENT;
    return deviceAlloc(p, bytes, false, context);
}
EXPORT int cuMemFree_v2(uintptr_t p) {
    CURRENT;
    if (p == 0) {
        return Success;
    }
    drain(context);
    return deviceFree(p, false);
}
EXPORT int cuMemHostAlloc(void** p, size_t bytes, unsigned) {
    CURRENT;
    if (options.pinned_bytes > 0 && pinnedBytesInUse() + bytes > (size_t)options.pinned_bytes) {
        return error(OutOfMemory, format("%zu bytes to pin, %zu of %ld are pinned", bytes, pinnedBytesInUse(), (long)options.pinned_bytes));
    }
    uintptr_t address;
    Result r = deviceAlloc(&address, bytes, true, context);
    if (r == Success) {
        *p = (void*)address;
        if (kChecked) {
            markWritten(address, bytes);
        }
    }
    return r;
}
EXPORT int cuMemAllocHost_v2(void** p, size_t bytes) { return cuMemHostAlloc(p, bytes, 0); }
EXPORT int cuMemHostGetDevicePointer_v2(uintptr_t* device, void* host, unsigned) { *device = (uintptr_t)host; return Success; }
EXPORT int cuMemFreeHost(void* p) {
    CURRENT;
    drain(context);
    return deviceFree((uintptr_t)p, true);
}
EXPORT int cuMemcpyHtoDAsync_v2(uintptr_t to, const void* from, size_t n, Stream* s) { return copy(s, to, (uintptr_t)from, n); }
EXPORT int cuMemcpyDtoHAsync_v2(void* to, uintptr_t from, size_t n, Stream* s) { return copy(s, (uintptr_t)to, from, n); }
EXPORT int cuMemcpyDtoDAsync_v2(uintptr_t to, uintptr_t from, size_t n, Stream* s) { return copy(s, to, from, n); }
EXPORT int cuMemcpyHtoD_v2(uintptr_t to, const void* from, size_t n) {
    Result r = copy(nullptr, to, (uintptr_t)from, n);
    return r != Success ? r : cuCtxSynchronize();
}
EXPORT int cuMemcpyDtoH_v2(void* to, uintptr_t from, size_t n) {
    Result r = copy(nullptr, (uintptr_t)to, from, n);
    return r != Success ? r : cuCtxSynchronize();
}
EXPORT int cuMemcpyDtoD_v2(uintptr_t to, uintptr_t from, size_t n) {
    Result r = copy(nullptr, to, from, n);
    return r != Success ? r : cuCtxSynchronize();
}
EXPORT int cuMemsetD8Async(uintptr_t p, unsigned char v, size_t n, Stream* s) { return fill(s, p, v, 1, n); }
EXPORT int cuMemsetD8_v2(uintptr_t p, unsigned char v, size_t n) { return fill(nullptr, p, v, 1, n); }
EXPORT int cuMemsetD16Async(uintptr_t p, unsigned short v, size_t n, Stream* s) { return fill(s, p, v, 2, n); }
EXPORT int cuMemsetD32Async(uintptr_t p, unsigned v, size_t n, Stream* s) { return fill(s, p, v, 4, n); }
EXPORT int cuMemsetD32_v2(uintptr_t p, unsigned v, size_t n) { return fill(nullptr, p, v, 4, n); }
