// The driver's functions under libcuda's names. Work is done in the order in which it is queued: at once, or (option
// "deferred") when somebody waits for it. A captured graph keeps each call's arguments by value and does it all again.
#include "engine.h"
#include <algorithm>
#include <chrono>
#include <cstdarg>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <unordered_set>

Result loadImage(const void* image, Module** module); // modules.cpp
void dropModule(Module* module);
Result kernelIndex(Module* module, const char* name, int* index);

namespace {

std::recursive_mutex api; // one call at a time; compiling does not take it
thread_local std::string errorText;

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

struct Context {
    Result broken = Success;
    std::string broken_text;
    bool primary = false;
};

struct Capture;
struct Stream {
    Context* context;
    Capture* capture = nullptr;
};
struct Event {
    Context* context;
    double time = 0;
    bool recorded = false;
    Capture* capture = nullptr;
};

enum Kind { Kernel, Copy, Fill, Record };
struct Op {
    Kind kind;
    Launch launch;
    uintptr_t to = 0, from = 0;
    size_t bytes = 0;
    uint32_t value = 0;
    int width = 1; // of a fill
    Event* event = nullptr;
    std::vector<uint8_t> staged; // pageable host memory is read when the copy is queued
    bool use_staged = false;
};
struct Capture {
    Stream* origin;
    std::vector<Op> ops;
    bool invalid = false;
};
struct Graph { std::vector<Op> ops; };

template <class T>
struct Handles {
    std::unordered_set<T*> live;
    T* add(T* p) {
        live.insert(p);
        return p;
    }
    bool has(void* p) const { return live.count((T*)p) != 0; }
    void drop(T* p) {
        live.erase(p);
        delete p;
    }
};

bool initialised = false;
int primaryUsers = 0;
Context* primary = nullptr;
Handles<Context> contexts;
Handles<Stream> streams;
Handles<Event> events;
Handles<Graph> graphs;
std::unordered_set<Module*> modules;
std::unordered_set<Function*> functions;
std::map<std::string, KernelStats*> stats;
thread_local std::vector<Context*> current;
struct Pending { Context* context; Op op; };
std::deque<Pending> pending;

Context* now_current() {
    if (!current.empty() && !contexts.has(current.back())) {
        return nullptr;
    }
    return current.empty() ? nullptr : current.back();
}

Result error(Result r, const std::string& text) {
    setError(text);
    return r;
}

// A kernel's fault leaves the context unusable, as on a GPU.
Result breakContext(Context* c, Result r) {
    if (r >= IllegalAddress && r != LaunchOutOfResources && r != CooperativeLaunchTooLarge && c->broken == Success) {
        c->broken = r;
        c->broken_text = lastError();
    }
    return r;
}

Result check(Context* c) {
    if (!initialised) {
        return error(NotInitialized, "cuInit was not called");
    }
    if (c == nullptr || !contexts.has(c)) {
        return error(InvalidContext, "the thread has no current context, or it was destroyed");
    }
    if (c->broken != Success) {
        setError("the context is unusable since an earlier error: " + c->broken_text);
        return c->broken;
    }
    return Success;
}

#define CURRENT                                                      \
    std::lock_guard<std::recursive_mutex> guard(api);                \
    Context* context = now_current();                                \
    if (Result r = check(context)) return r

Result validRange(uintptr_t p, size_t n, const char* what) {
    if (!inArena(p)) {
        return error(InvalidValue, format("%s: %p is not device memory", what, (void*)p));
    }
    std::string why = n == 0 ? "" : whyNotDevice(p, n);
    return why.empty() ? Success : error(InvalidValue, format("%s: %zu bytes at %p: %s", what, n, (void*)p, why.c_str()));
}

Result execute(Op& op) {
    switch (op.kind) {
    case Kernel: return runGrid(op.launch);
    case Copy: {
        if (inArena(op.to)) {
            if (Result r = validRange(op.to, op.bytes, "the destination of a copy")) return r;
        }
        if (inArena(op.from) && !op.use_staged) {
            if (Result r = validRange(op.from, op.bytes, "the source of a copy")) return r;
        }
        memmove((void*)op.to, op.use_staged ? op.staged.data() : (const void*)op.from, op.bytes);
        if (kChecked && inArena(op.to) && op.bytes > 0) {
            const Allocation* from = op.use_staged ? nullptr : findAllocation(op.from);
            if (from == nullptr || from->pinned) {
                markWritten(op.to, op.bytes);
            } else {
                copyWritten(op.to, op.from, op.bytes);
            }
        }
        return Success;
    }
    case Fill:
        if (Result r = validRange(op.to, op.bytes, "a memset")) return r;
        if (op.width == 1) {
            memset((void*)op.to, (int)op.value, op.bytes);
        } else {
            for (size_t i = 0; i + (size_t)op.width <= op.bytes; i += (size_t)op.width) {
                memcpy((uint8_t*)op.to + i, &op.value, (size_t)op.width);
            }
        }
        if (kChecked) {
            markWritten(op.to, op.bytes);
        }
        return Success;
    case Record:
        op.event->time = now();
        op.event->recorded = true;
        return Success;
    }
    return Success;
}

Result drain() {
    Result first = Success;
    while (!pending.empty()) {
        Pending p = std::move(pending.front());
        pending.pop_front();
        if (p.context->broken != Success) {
            continue;
        }
        Result r = breakContext(p.context, execute(p.op));
        first = first == Success ? r : first;
    }
    return first;
}

// Everything that takes a stream ends here.
Result submit(Context* context, Stream* s, Op&& op) {
    if (s != nullptr && !streams.has(s)) {
        return error(InvalidHandle, "the stream was destroyed, or never was one");
    }
    if (s != nullptr && s->capture != nullptr) {
        s->capture->ops.push_back(std::move(op));
        return Success;
    }
    if (options.deferred) {
        if (op.kind == Copy && !inArena(op.from)) {
            op.staged.assign((const uint8_t*)op.from, (const uint8_t*)op.from + op.bytes);
            op.use_staged = true;
        }
        bool wait = op.kind == Copy && !inArena(op.to); // a copy to pageable memory waits
        pending.push_back({context, std::move(op)});
        return wait ? drain() : Success;
    }
    return breakContext(context, execute(op));
}

Result copy(Stream* s, uintptr_t to, uintptr_t from, size_t n) {
    CURRENT;
    if (n == 0) {
        return Success;
    }
    if (to == 0 || from == 0) {
        return error(InvalidValue, "a copy from or to a null pointer");
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

Result synchronise(Context* context) {
    Result r = drain();
    return r != Success ? r : check(context);
}

Result launch(Function* f, Index3 grid, Index3 block, uint32_t shared, Stream* s, void** params, void** extra, bool cooperative) {
    CURRENT;
    if (functions.count(f) == 0) {
        return error(InvalidHandle, "the function's module was unloaded, or it never was one");
    }
    uint64_t threads = (uint64_t)block.x * block.y * block.z, blocks = (uint64_t)grid.x * grid.y * grid.z;
    const std::string& name = f->name;
    if (threads == 0 || blocks == 0 || threads > 1024 || block.z > 64 || grid.y > 65535 || grid.z > 65535 || grid.x > 0x7FFFFFFFu || blocks > 0x7FFFFFFFu) {
        return error(InvalidValue, format("%s: a grid of (%u,%u,%u) blocks of (%u,%u,%u) threads is out of range", name.c_str(), grid.x, grid.y, grid.z, block.x, block.y, block.z));
    }
    std::string problem;
    ModuleCopy* m = f->module->copy(0, problem);
    if (m == nullptr) {
        return error(InvalidImage, problem);
    }
    if ((int64_t)shared > f->max_dynamic_shared) {
        return error(InvalidValue, format("%s: %u bytes of dynamic shared memory, but the function is set to at most %d", name.c_str(), shared, f->max_dynamic_shared));
    }
    if ((size_t)(m->shared_end - m->shared) + shared > 227 * 1024) {
        return error(InvalidValue, format("%s: more than 227 KiB of shared memory", name.c_str()));
    }
    if (cooperative && blocks > (uint64_t)options.multiprocessors * (2048 / std::max<uint64_t>(threads, 64))) {
        return error(CooperativeLaunchTooLarge, format("%s: %lu blocks cannot be resident at once", name.c_str(), (unsigned long)blocks));
    }
    const KernelEntry& kernel = m->kernels[(size_t)f->index];
    Op op{Kernel};
    op.launch.function = f;
    op.launch.grid = grid;
    op.launch.block = block;
    op.launch.shared_bytes = shared;
    op.launch.cooperative = cooperative;
    op.launch.arguments.resize(kernel.bytes + 16);
    if (params != nullptr) {
        for (size_t i = 0; i < kernel.sizes.size(); i++) {
            if (params[i] == nullptr) {
                return error(InvalidValue, format("%s: parameter %zu of %zu is null", name.c_str(), i, kernel.sizes.size()));
            }
            memcpy(op.launch.arguments.data() + kernel.offsets[i], params[i], kernel.sizes[i]);
        }
    } else if (extra != nullptr) {
        void* buffer = nullptr;
        size_t size = 0;
        for (void** e = extra; *e != nullptr; e += 2) {
            if (*e == (void*)1) buffer = e[1];
            if (*e == (void*)2) size = *(size_t*)e[1];
        }
        if (buffer == nullptr || size < kernel.bytes) {
            return error(InvalidValue, format("%s: %zu bytes of parameters, it takes %u", name.c_str(), size, kernel.bytes));
        }
        memcpy(op.launch.arguments.data(), buffer, kernel.bytes);
    } else if (!kernel.sizes.empty()) {
        return error(InvalidValue, format("%s: no parameters were given", name.c_str()));
    }
    return submit(context, s, std::move(op));
}

} // namespace

// --- errors and text ---

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
        {"accessesPerThread", &o.accesses_per_thread}, {"deferred", &o.deferred},
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

// --- device and contexts ---

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
    snprintf(name, (size_t)size, "host runner (%s)", kvcudaHostFlavour());
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

namespace {
void destroyContext(Context* c) {
    drain();
    freeAllOf(c);
    contexts.drop(c);
}
} // namespace

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
    return synchronise(context);
}

// --- memory ---

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
    drain();
    return deviceFree(p, false);
}
EXPORT int cuMemHostAlloc(void** p, size_t bytes, unsigned) {
    CURRENT;
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
    drain();
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

// --- code ---

EXPORT int cuModuleLoadData(Module** module, const void* image) {
    CURRENT;
    Result r = loadImage(image, module);
    if (r == Success) {
        modules.insert(*module);
    }
    return r;
}
EXPORT int cuModuleLoadDataEx(Module** module, const void* image, unsigned, int*, void**) { return cuModuleLoadData(module, image); }
EXPORT int cuModuleUnload(Module* module) {
    CURRENT;
    if (modules.erase(module) == 0) {
        return error(InvalidHandle, "not a module");
    }
    drain();
    for (auto it = functions.begin(); it != functions.end();) {
        if ((*it)->module == module) {
            delete *it;
            it = functions.erase(it);
        } else {
            ++it;
        }
    }
    dropModule(module);
    return Success;
}
EXPORT int cuModuleGetFunction(Function** f, Module* module, const char* name) {
    CURRENT;
    if (modules.count(module) == 0) {
        return error(InvalidHandle, "not a module");
    }
    int index;
    if (Result r = kernelIndex(module, name, &index)) return r;
    KernelStats*& s = stats[name];
    if (s == nullptr) {
        s = new KernelStats;
    }
    *f = new Function{module, index, name, 48 * 1024, s};
    functions.insert(*f);
    return Success;
}
EXPORT int cuFuncGetAttribute(int* value, int attribute, Function* f) {
    CURRENT;
    if (functions.count(f) == 0) {
        return error(InvalidHandle, "not a function");
    }
    std::string problem;
    ModuleCopy* m = f->module->copy(0, problem);
    switch (attribute) {
    case 0: *value = 1024; break;
    case 1: *value = (int)(m->shared_end - m->shared); break;
    case 4: *value = 32; break; // not known here
    case 5: case 6: *value = 90; break;
    case 8: *value = f->max_dynamic_shared; break;
    default: *value = 0; break;
    }
    return Success;
}
EXPORT int cuFuncSetAttribute(Function* f, int attribute, int value) {
    CURRENT;
    if (functions.count(f) == 0) {
        return error(InvalidHandle, "not a function");
    }
    if (attribute == 8) {
        if (value < 0 || value > 227 * 1024) {
            return error(InvalidValue, format("%s: %d bytes of dynamic shared memory; a block has at most 227 KiB", f->name.c_str(), value));
        }
        f->max_dynamic_shared = value;
    }
    return Success;
}
EXPORT int cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, Function* f, int threads, size_t shared) {
    CURRENT;
    if (functions.count(f) == 0 || threads <= 0) {
        return error(InvalidValue, "not a function, or no threads");
    }
    std::string problem;
    ModuleCopy* m = f->module->copy(0, problem);
    size_t bytes = (size_t)(m->shared_end - m->shared) + shared + 1024;
    *blocks = (int)std::min<size_t>({(size_t)32, (size_t)(2048 / threads), (size_t)228 * 1024 / bytes});
    return Success;
}
EXPORT int cuLaunchKernel(Function* f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared, Stream* s, void** params, void** extra) {
    return launch(f, {gx, gy, gz}, {bx, by, bz}, shared, s, params, extra, false);
}
EXPORT int cuLaunchCooperativeKernel(Function* f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared, Stream* s, void** params) {
    return launch(f, {gx, gy, gz}, {bx, by, bz}, shared, s, params, nullptr, true);
}

struct LaunchAttribute { unsigned id, pad; int value[16]; };
struct LaunchConfig { unsigned gx, gy, gz, bx, by, bz, shared; Stream* stream; LaunchAttribute* attributes; unsigned count; };

EXPORT int cuLaunchKernelEx(const LaunchConfig* c, Function* f, void** params, void** extra) {
    bool cooperative = false;
    for (unsigned i = 0; i < c->count; i++) {
        const LaunchAttribute& a = c->attributes[i];
        switch (a.id) {
        case 2: cooperative = a.value[0] != 0; break;
        case 4:
            if (a.value[0] * std::max(1, a.value[1]) * std::max(1, a.value[2]) > 1) {
                return error(NotSupported, format("the host runner has no thread block clusters (asked for %d x %d x %d)", a.value[0], a.value[1], a.value[2]));
            }
            break;
        case 0: case 1: case 5: case 6: case 7: case 8: case 12: case 14: break; // about speed, or order that holds anyway
        default: return error(NotSupported, format("the host runner does not know launch attribute %u", a.id));
        }
    }
    return launch(f, {c->gx, c->gy, c->gz}, {c->bx, c->by, c->bz}, c->shared, c->stream, params, extra, cooperative);
}

// --- streams and events ---

EXPORT int cuStreamCreate(Stream** s, unsigned) {
    CURRENT;
    *s = streams.add(new Stream{context});
    return Success;
}
EXPORT int cuStreamCreateWithPriority(Stream** s, unsigned flags, int) { return cuStreamCreate(s, flags); }
EXPORT int cuStreamDestroy_v2(Stream* s) {
    CURRENT;
    if (!streams.has(s)) {
        return error(InvalidHandle, "not a stream");
    }
    drain();
    streams.drop(s);
    return Success;
}
#define STREAM                                                                                     \
    CURRENT;                                                                                       \
    if (s != nullptr && !streams.has(s)) return error(InvalidHandle, "not a stream")

EXPORT int cuStreamSynchronize(Stream* s) {
    STREAM;
    if (s != nullptr && s->capture != nullptr) {
        s->capture->invalid = true;
        return error(CaptureUnsupported, "a stream that is being captured cannot be waited for");
    }
    return synchronise(context);
}
EXPORT int cuStreamQuery(Stream* s) {
    STREAM;
    if (pending.empty()) {
        return Success;
    }
    drain();
    return NotReady;
}
EXPORT int cuStreamBeginCapture_v2(Stream* s, int) {
    STREAM;
    if (s == nullptr || s->capture != nullptr) {
        return error(CaptureUnsupported, "the default stream cannot be captured, nor a stream twice");
    }
    s->capture = new Capture{s};
    return Success;
}
EXPORT int cuStreamIsCapturing(Stream* s, int* status) {
    STREAM;
    *status = s == nullptr || s->capture == nullptr ? 0 : s->capture->invalid ? 2 : 1;
    return Success;
}
EXPORT int cuStreamEndCapture(Stream* s, Graph** graph) {
    STREAM;
    if (s == nullptr || s->capture == nullptr || s->capture->origin != s) {
        return error(InvalidValue, "the stream is not being captured");
    }
    Capture* c = s->capture;
    for (Stream* other : streams.live) {
        if (other->capture == c) other->capture = nullptr;
    }
    for (Event* e : events.live) {
        if (e->capture == c) e->capture = nullptr;
    }
    bool invalid = c->invalid;
    *graph = invalid ? nullptr : graphs.add(new Graph{std::move(c->ops)});
    delete c;
    return invalid ? error(CaptureInvalidated, "something was called that cannot be captured") : Success;
}
EXPORT int cuEventCreate(Event** e, unsigned) {
    CURRENT;
    *e = events.add(new Event{context});
    return Success;
}
EXPORT int cuEventDestroy_v2(Event* e) {
    CURRENT;
    if (!events.has(e)) {
        return error(InvalidHandle, "not an event");
    }
    drain();
    events.drop(e);
    return Success;
}
#define EVENT                                                                        \
    CURRENT;                                                                         \
    if (!events.has(e)) return error(InvalidHandle, "not an event")

EXPORT int cuEventRecord(Event* e, Stream* s) {
    EVENT;
    if (s != nullptr && !streams.has(s)) {
        return error(InvalidHandle, "not a stream");
    }
    if (s != nullptr && s->capture != nullptr) {
        e->capture = s->capture;
        return Success;
    }
    e->capture = nullptr;
    Op op{Record};
    op.event = e;
    return submit(context, s, std::move(op));
}
EXPORT int cuStreamWaitEvent(Stream* s, Event* e, unsigned) {
    EVENT;
    if (s != nullptr && !streams.has(s)) {
        return error(InvalidHandle, "not a stream");
    }
    // Work is in one order anyway; a captured event draws the stream into its capture.
    if (e->capture != nullptr && s != nullptr && s->capture == nullptr) {
        s->capture = e->capture;
    }
    return Success;
}
EXPORT int cuEventSynchronize(Event* e) {
    EVENT;
    return synchronise(context);
}
EXPORT int cuEventQuery(Event* e) {
    EVENT;
    if (pending.empty()) {
        return Success;
    }
    drain();
    return NotReady;
}
EXPORT int cuEventElapsedTime(float* ms, Event* begin, Event* e) {
    EVENT;
    if (!events.has(begin) || !begin->recorded || !e->recorded) {
        return error(InvalidHandle, "an event was not recorded");
    }
    drain();
    *ms = (float)((e->time - begin->time) * 1000);
    return Success;
}
EXPORT int cuEventElapsedTime_v2(float* ms, Event* begin, Event* e) { return cuEventElapsedTime(ms, begin, e); }

// --- graphs: an executable graph is a copy of the graph ---

EXPORT int cuGraphInstantiateWithFlags(Graph** exec, Graph* g, unsigned long long) {
    CURRENT;
    if (!graphs.has(g)) {
        return error(InvalidHandle, "not a graph");
    }
    *exec = graphs.add(new Graph(*g));
    return Success;
}
EXPORT int cuGraphGetNodes(Graph* g, void** nodes, size_t* count) {
    CURRENT;
    if (!graphs.has(g)) {
        return error(InvalidHandle, "not a graph");
    }
    if (nodes != nullptr) {
        for (size_t i = 0; i < *count && i < g->ops.size(); i++) nodes[i] = &g->ops[i];
    }
    *count = g->ops.size();
    return Success;
}
EXPORT int cuGraphLaunch(Graph* g, Stream* s) {
    STREAM;
    if (!graphs.has(g)) {
        return error(InvalidHandle, "not a graph");
    }
    for (Op& op : g->ops) {
        if (op.kind == Kernel && functions.count(op.launch.function) == 0) {
            return error(InvalidHandle, "the graph launches a function whose module was unloaded");
        }
        Op again = op;
        if (Result r = submit(context, s, std::move(again))) return r;
    }
    return Success;
}
EXPORT int cuGraphUpload(Graph*, Stream*) { return Success; }
EXPORT int cuGraphDestroy(Graph* g) {
    std::lock_guard<std::recursive_mutex> guard(api);
    if (!graphs.has(g)) {
        return error(InvalidHandle, "not a graph");
    }
    graphs.drop(g);
    return Success;
}
EXPORT int cuGraphExecDestroy(Graph* g) { return cuGraphDestroy(g); }
