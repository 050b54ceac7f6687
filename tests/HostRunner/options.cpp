// What the runner adds to the driver: the last error in words, options, counts; and the names of results.
#include "driver.h"
#include <algorithm>
#include <cstdarg>
#include <cstring>

static thread_local std::string errorText;

std::string format(const char* f, ...) {
    va_list list, again;
    va_start(list, f);
    va_copy(again, list);
    int n = vsnprintf(nullptr, 0, f, list);
    std::string text((size_t)n, '\0');
    vsnprintf(text.data(), (size_t)n + 1, f, again);
    va_end(list);
    va_end(again);
    return text;
}

void setError(const std::string& text) { errorText = text; }
const char* lastError() { return errorText.c_str(); }

// What the last failed call of this thread had to say, in full.
EXPORT const char* kvcudaHostLastError() { return lastError(); }
EXPORT const char* kvcuda_host_last_error() { return lastError(); }
EXPORT const char* kvcudaHostFlavour() { return kChecked ? "checked" : "plain"; }

static int64_t* optionNamed(Options& o, const char* name) {
    const std::pair<const char*, int64_t*> table[] = {
        {"seed", &o.seed}, {"threads", &o.threads}, {"races", &o.races}, {"uninitialised", &o.uninitialised},
        {"multiprocessors", &o.multiprocessors}, {"spinMilliseconds", &o.spin_milliseconds},
        {"accessesPerThread", &o.accesses_per_thread}, {"deferred", &o.deferred}, {"pinnedBytes", &o.pinned_bytes},
        {"failCopyBytes", &o.fail_copy_bytes},
    };
    for (auto& entry : table) {
        if (strcmp(entry.first, name) == 0) return entry.second;
    }
    return nullptr;
}

Options firstOptions() {
    Options o;
    for (const char* at = getenv("KVCUDA_HOST_OPTIONS"); at != nullptr && *at;) {
        char name[32];
        long long value;
        int length = 0;
        int64_t* option = sscanf(at, "%31[a-zA-Z]=%lld%n", name, &value, &length) == 2 ? optionNamed(o, name) : nullptr;
        if (option == nullptr) {
            fprintf(stderr, "KVCUDA_HOST_OPTIONS: '%s' does not begin with an option=number of the host runner\n", at);
            break;
        }
        *option = value;
        at += length;
        at += *at == ',';
    }
    return o;
}

// For the calling thread's launches.
EXPORT int kvcudaHostSetOption(const char* name, long long value) {
    std::lock_guard<std::recursive_mutex> guard(api);
    int64_t* option = optionNamed(options, name);
    if (option == nullptr) {
        return error(InvalidValue, format("there is no option '%s'", name));
    }
    drain();
    *option = value;
    return Success;
}

EXPORT int kvcudaHostGetOption(const char* name, long long* value) {
    int64_t* option = optionNamed(options, name);
    if (option == nullptr) {
        return error(InvalidValue, format("there is no option '%s'", name));
    }
    *value = *option;
    return Success;
}

// One line per kernel: name, launches, blocks, checked accesses, fiber switches, tensor core operations, asynchronous copies.
EXPORT int kvcudaHostStats(char* text, size_t size) {
    std::lock_guard<std::recursive_mutex> guard(api);
    std::string all;
    for (auto& entry : stats) {
        KernelStats& s = *entry.second;
        all += format("%s %lld %lld %lld %lld %lld %lld\n", entry.first.c_str(), s.launches.load(), s.blocks.load(), s.accesses.load(),
                      s.switches.load(), s.mma.load(), s.async_copies.load());
    }
    if (text != nullptr && size > 0) {
        size_t n = std::min(size - 1, all.size());
        memcpy(text, all.data(), n);
        text[n] = 0;
    }
    return (int)all.size() + 1;
}

EXPORT void kvcudaHostResetStats() {
    std::lock_guard<std::recursive_mutex> guard(api);
    for (auto& entry : stats) {
        KernelStats& s = *entry.second;
        s.launches = s.blocks = s.accesses = s.switches = s.mma = s.async_copies = 0;
    }
}

// Makes device memory as if it had never been written: NaNs, and an error for who reads them.
EXPORT int kvcudaHostPoison(uintptr_t p, size_t bytes) {
    std::lock_guard<std::recursive_mutex> guard(api);
    drain();
    if (Result r = validRange(p, bytes, "kvcudaHostPoison")) return r;
    memset((void*)p, 0xFF, bytes);
    if (kChecked) {
        markUnwritten(p, bytes);
    }
    return Success;
}

EXPORT int cuGetErrorName(int r, const char** name) {
    switch (r) {
#define NAME(value, text) case value: *name = text; return Success
        NAME(Success, "CUDA_SUCCESS"); NAME(InvalidValue, "CUDA_ERROR_INVALID_VALUE"); NAME(OutOfMemory, "CUDA_ERROR_OUT_OF_MEMORY");
        NAME(NotInitialized, "CUDA_ERROR_NOT_INITIALIZED"); NAME(InvalidContext, "CUDA_ERROR_INVALID_CONTEXT");
        NAME(InvalidImage, "CUDA_ERROR_INVALID_IMAGE"); NAME(NoBinaryForGpu, "CUDA_ERROR_NO_BINARY_FOR_GPU"); NAME(NotFound, "CUDA_ERROR_NOT_FOUND");
        NAME(NotReady, "CUDA_ERROR_NOT_READY"); NAME(InvalidHandle, "CUDA_ERROR_INVALID_HANDLE"); NAME(IllegalAddress, "CUDA_ERROR_ILLEGAL_ADDRESS");
        NAME(LaunchOutOfResources, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES"); NAME(LaunchTimeout, "CUDA_ERROR_LAUNCH_TIMEOUT");
        NAME(MisalignedAddress, "CUDA_ERROR_MISALIGNED_ADDRESS"); NAME(Assert, "CUDA_ERROR_ASSERT"); NAME(LaunchFailed, "CUDA_ERROR_LAUNCH_FAILED");
        NAME(NotPermitted, "CUDA_ERROR_NOT_PERMITTED"); NAME(NotSupported, "CUDA_ERROR_NOT_SUPPORTED");
        NAME(CaptureUnsupported, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"); NAME(CaptureInvalidated, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED");
        NAME(CooperativeLaunchTooLarge, "CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE");
#undef NAME
    default: *name = nullptr; return InvalidValue;
    }
}
EXPORT int cuGetErrorString(int r, const char** text) { return cuGetErrorName(r, text); }
