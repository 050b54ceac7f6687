// The parts of the host runner know each other by this page.
//   engine.cpp       the launch of a grid, its host threads
//   fibers.cpp       blocks and threads as fibers;  waits.cpp  barriers
//   faults.cpp       what is said when a kernel goes wrong
//   collectives.cpp  what the lanes of a warp do together; asynchronous copies; atomics
//   warpgroup.cpp    products of four warps at once (wgmma)
//   checks.cpp       every memory access of the checked flavour
//   memory.cpp       device memory with exact extents
//   driver*.cpp      libcuda's names and the order of work;  nvrtc.cpp  NVRTC's names
//   options.cpp      options, counts, the last error
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#ifdef KVCUDA_HOST_PLAIN
constexpr bool kChecked = false;
#else
constexpr bool kChecked = true;
#endif

#define EXPORT extern "C" __attribute__((visibility("default")))

// CUresult, as far as the runner returns them.
enum Result : int {
    Success = 0, InvalidValue = 1, OutOfMemory = 2, NotInitialized = 3, InvalidContext = 201, InvalidImage = 200, NoBinaryForGpu = 209,
    NotFound = 500, NotReady = 600, InvalidHandle = 400, IllegalAddress = 700, LaunchOutOfResources = 701, LaunchTimeout = 702,
    MisalignedAddress = 716, Assert = 710, LaunchFailed = 719, NotPermitted = 800, NotSupported = 801,
    CaptureUnsupported = 900, CaptureInvalidated = 901, CooperativeLaunchTooLarge = 720,
};

// --- what a kernel sees of its thread (simt.h has the same layout) ---

struct Index3 { uint32_t x, y, z; };
struct BlockView {
    Index3 index, block_dim, grid_dim;
    void* dynamic_shared;
};
struct ThreadView {
    Index3 index;
    uint32_t lane;
    BlockView* block;
};

// --- compiled code ---

struct KernelEntry {
    std::string name;
    void (*thunk)(void**);
    std::vector<uint32_t> sizes, offsets; // of the parameters, in one buffer
    uint32_t bytes = 0;
};

// One copy of a module, for one worker.
struct ModuleCopy {
    void* handle = nullptr;
    int file = -1;
    ThreadView** self = nullptr;
    uint8_t *shared = nullptr, *shared_end = nullptr; // the section of __shared__ variables
    uintptr_t low = 0, high = 0;                      // where it is mapped
    std::vector<KernelEntry> kernels;
    ~ModuleCopy();
};

struct KernelStats { std::atomic<long long> launches{0}, blocks{0}, accesses{0}, mma{0}, async_copies{0}, switches{0}; };

struct Module {
    std::vector<uint8_t> image;
    std::vector<std::unique_ptr<ModuleCopy>> copies; // by worker
    ModuleCopy* copy(int worker, std::string& error);
};

struct Function {
    Module* module;
    int index;
    std::string name;
    int max_dynamic_shared = 48 * 1024;
    KernelStats* stats;
};

// --- a launch ---

struct Launch {
    Function* function = nullptr;
    Index3 grid{}, block{};
    uint32_t shared_bytes = 0;
    bool cooperative = false;
    std::vector<uint8_t> arguments;
};

// Runs a grid to its end. Success, or the error whose text setError has.
Result runGrid(const Launch& launch);

// --- errors ---

void setError(const std::string& text);
const char* lastError();
std::string format(const char* f, ...) __attribute__((format(printf, 1, 2)));
// The lines of source at a code address, innermost first: "kernels/a.cu:3, called from kernels/b.cu:7".
std::string sourceOf(const std::vector<uintptr_t>& addresses);

// --- options and memory ---

// Of the calling host thread; a launch takes a copy along. First values: KVCUDA_HOST_OPTIONS="seed=1,deferred=1".
struct Options {
    int64_t seed = 0;               // order of the threads: 0 in order, 1 reversed, n shuffled
    int64_t threads = 0;            // host threads that run blocks; 0: as many as cores
    int64_t races = 1;              // look for races
    int64_t uninitialised = 1;      // look for reads of memory that was never written
    int64_t multiprocessors = 4;    // what the device attribute says
    int64_t spin_milliseconds = 2000;
    int64_t accesses_per_thread = 400000000; // between two meetings with other threads: more is an endless loop
    // 0: work is done when it is queued. Otherwise streams run apart, as far as events let them: 1, each only when someone
    // waits for it; 2, the stream made first only then, the others at once; above, by a coin of this seed.
    int64_t deferred = 0;
    int64_t pinned_bytes = 0;       // the most that can be pinned; 0: no limit
    int64_t fail_copy_bytes = 0;    // copies of exactly so many bytes fail
};
extern thread_local Options options;
Options firstOptions();

struct Allocation {
    uintptr_t base;
    size_t size;
    bool freed, pinned;
    uint64_t serial;
    void* owner; // the context
};
constexpr int kPageBits = 12;
extern uintptr_t arenaBase;
extern size_t arenaSize;
bool arenaInit();
Result deviceAlloc(uintptr_t* p, size_t bytes, bool pinned, void* owner);
Result deviceFree(uintptr_t p, bool pinned);
void freeAllOf(void* owner);
size_t deviceBytesInUse();
size_t pinnedBytesInUse();
const Allocation* findAllocation(uintptr_t p); // also a freed one; null if never allocated
// Null if [p, p+n) is inside one live allocation, else what is wrong with it.
std::string whyNotDevice(uintptr_t p, size_t n);
inline bool inArena(uintptr_t p) { return p - arenaBase < arenaSize; }

// One bit per byte of the arena: was it ever written? Checked flavour only.
void markWritten(uintptr_t p, size_t n);
void markUnwritten(uintptr_t p, size_t n);
bool allWritten(uintptr_t p, size_t n);
void copyWritten(uintptr_t to, uintptr_t from, size_t n);
// A word per 2 bytes of the arena for races between blocks: low half last writer, high half last reader.
uint64_t* raceCells(uintptr_t p);
void clearRaceCells();
