// The running state of blocks: workers, blocks, warps, threads. One worker is one host thread; a fiber is one CUDA thread.
#pragma once
#include "engine.h"

constexpr int kMaxThreads = 1024;
constexpr size_t kStackBytes = 64 * 1024;

// What is known of two bytes of shared memory. An access is ordered before the running thread if it was in an earlier
// barrier interval (epoch), by the thread itself, or if the running thread has since met its thread (clock).
struct SharedCell {
    uint32_t write_epoch, read_epoch;
    uint16_t writer, write_clock;
    uint16_t reader, read_clock, reader2, read_clock2;
    uint16_t in_flight; // an asynchronous copy of `writer` is under way to here
    uint16_t unused;
};

struct AsyncCopy {
    uint8_t* to;
    const uint8_t* from;
    int bytes, source_bytes, group;
};

// A product of a warpgroup that is under way, and a thread's sums while some are: done at the wait.
struct Product {
    float* d;
    uint64_t a, b; // descriptors of the operands
    int group;
};
struct Sums {
    float* registers;
    int pending;
    float values[64];
};

// Which blocks' past a block of a cooperative launch knows: by block, how many of its releases. Learned by acquiring
// (shared/grid.cuh) what others released.
typedef std::vector<uint32_t> BlockClocks;

struct Block;
struct Warp;
struct Thread {
    ThreadView view; // first: kernels see it
    void* stack_pointer = nullptr;
    uint8_t* stack_low = nullptr;
    Block* owner = nullptr;
    Warp* warp = nullptr;
    uint16_t id = 0;
    uint16_t clock = 1; // own time within the barrier interval
    bool done = false, started = false, spinning = false;
    const char* wait_file = nullptr; // where it waits, null if it runs
    int wait_line = 0;
    const char* wait_what = nullptr;
    uint64_t result = 0;
    int64_t accesses_left = 0;
    std::vector<AsyncCopy> copies;
    int open_group = 0; // number of the group that is being filled
    std::vector<Product> products;
    std::vector<Sums> sums;
    int open_products = 0;
    uint32_t clocks_epoch = 0;
    std::vector<uint16_t> clocks; // of the block's other threads, valid in clocks_epoch
};

// Lanes that meet: all lanes of the mask must come with the same operation.
struct Meeting {
    uint32_t mask = 0, arrived = 0;
    int operation = 0;
    struct Lane { uint64_t value; int operand, width; const void* pointer; void* output; } lanes[32];
};

struct Warp {
    Thread* lanes[32] = {};
    uint32_t present = 0, exited = 0;
    std::vector<std::unique_ptr<Meeting>> meetings;
};

struct Block {
    BlockView view; // kernels see it
    uint32_t number = 0;
    uint32_t first_epoch = 0, epoch = 0;
    bool acquired = false; // has looked at what other blocks published
    BlockClocks clocks;    // resident mode
    int live = 0, arrived = 0, arrived_kind = 0, predicate = 0;
    std::vector<Thread*> waiting;
    std::vector<Thread> threads;
    std::vector<Warp> warps;
    std::vector<Thread*> ready; // a ring
    uint32_t ready_head = 0, ready_count = 0;
    uint8_t* dynamic = nullptr;
    SharedCell *dynamic_cells = nullptr, *static_cells = nullptr;
    std::vector<uint8_t> owned_dynamic, saved_static; // resident mode only
    std::vector<SharedCell> owned_cells;
};

struct Worker {
    int number = 0;
    Options options;
    Thread* current = nullptr;
    Block* block = nullptr;
    ModuleCopy* module = nullptr;
    const KernelEntry* kernel = nullptr;
    const Launch* launch = nullptr;
    void** parameters = nullptr;
    uint8_t* stacks = nullptr;
    size_t stack_count = 0;
    void* main_stack_pointer = nullptr;
    uint32_t epoch = 0; // of barriers and blocks, ever growing
    uint32_t launch_tag = 0;
    bool many_blocks = false;
    uint8_t* dynamic_memory = nullptr; // normal mode: one block's dynamic shared memory
    size_t dynamic_size = 0;           // of this launch
    std::vector<SharedCell> dynamic_cells, static_cells;
    Block scratch; // normal mode
    std::vector<std::unique_ptr<Block>> resident;
    size_t resident_at = 0;
    std::vector<std::pair<uintptr_t, BlockClocks>> released; // resident mode: by address
    bool failed = false;
    Result failure = Success;
    std::string failure_text;
    long long idle_yields = 0;
    double idle_since = 0;
    long long accesses = 0, switches = 0, mma = 0, async_copies = 0;
};

extern __attribute__((tls_model("initial-exec"))) thread_local Worker* worker;

// fibers.cpp
extern "C" void simt_switch(void** save, void* load);
void enterBlock(Worker* w, Block* b); // its static variables are those that kernels see
void growStacks(Worker* w, size_t count);
// Threads of a block in their first state; `stack` is the number of the first one's stack.
void prepareBlock(Worker* w, Block* b, uint64_t number, size_t stack);
// Runs what is ready until nothing is; true unless a thread failed.
bool runFibers(Worker* w);
// Leaves the running thread until it is made ready again; other blocks of a cooperative launch may come first.
void suspend(Worker* w, bool other_block = false);
void makeReady(Thread* t);
inline void progress(Worker* w) { w->idle_yields = 0; }

// faults.cpp
// The running thread's fault: records it and abandons the block.
[[noreturn]] void fail(Result result, const std::string& what, void* frame);
#define FAIL(result, ...) fail(result, format(__VA_ARGS__), __builtin_frame_address(0))
std::string threadName(const Thread* t);
void reportDeadlock(Worker* w, Block* b);

// checks.cpp
void checkRead(Worker* w, uintptr_t p, size_t n, void* frame);
void checkWrite(Worker* w, uintptr_t p, size_t n, void* frame);
void checkAtomic(Worker* w, uintptr_t p, size_t n, bool writes, void* frame);
void issueCopy(Worker* w, AsyncCopy& c, void* frame);
void landCopy(Worker* w, const AsyncCopy& c);
uint16_t* clocksOf(Thread* t);
void orderBlocks(Worker* w, uintptr_t p, bool acquire, bool release);
extern std::atomic<uint32_t> launchTag;
