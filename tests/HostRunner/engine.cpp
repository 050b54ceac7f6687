// Grids: blocks are pulled by host threads, one block at a time each; a CUDA thread is a fiber that runs until it has to
// wait. A cooperative launch keeps all its blocks alive on one host thread.
#include "fiber.h"
#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <random>
#include <sys/mman.h>
#include <thread>

thread_local Worker* worker = nullptr;
thread_local Options options = firstOptions();
std::atomic<uint32_t> launchTag{0};

// --- switching stacks: 14 instructions of x86-64 ---

extern "C" void simt_switch(void** save, void* load);
asm(R"(
.text
.globl simt_switch
.hidden simt_switch
.type simt_switch, @function
simt_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size simt_switch, .-simt_switch
)");

namespace {

// --- the state that one launch's workers share ---

struct Shared {
    const Launch* launch = nullptr;
    uint32_t tag = 0;
    uint64_t blocks = 0;
    std::atomic<uint64_t> next{0};
    std::atomic<bool> failed{false};
    Options options;
    std::mutex lock;
    Result result = Success;
    std::string text;
};

void threadMain();

void startThread(Worker* w, Thread* t) {
    // Stacks start at different lines of the cache, or all of them would fight for the same sets.
    uintptr_t top = (uintptr_t)t->stack_low + kStackBytes - 256 * (size_t)(t->id % 64) - 64;
    top &= ~(uintptr_t)15;
    void** p = (void**)top;
    *--p = nullptr; // where threadMain would return to: the end of a backtrace
    *--p = (void*)threadMain;
    for (int i = 0; i < 6; i++) {
        *--p = nullptr;
    }
    t->stack_pointer = p;
    t->started = true;
    (void)w;
}

void enterBlock(Worker* w, Block* b) {
    if (w->block == b) {
        return;
    }
    size_t size = (size_t)(w->module->shared_end - w->module->shared);
    if (size > 0) {
        // In resident mode the static variables are those of the block that runs.
        if (w->block != nullptr && !w->block->saved_static.empty()) {
            memcpy(w->block->saved_static.data(), w->module->shared, size);
        }
        if (!b->saved_static.empty()) {
            memcpy(w->module->shared, b->saved_static.data(), size);
        }
    }
    w->block = b;
}

Thread* popReady(Block* b) {
    if (b->ready_count == 0) {
        return nullptr;
    }
    Thread* t = b->ready[b->ready_head];
    b->ready_head = b->ready_head + 1 == b->ready.size() ? 0 : b->ready_head + 1;
    b->ready_count--;
    return t;
}

Thread* nextThread(Worker* w, bool other_block = false) {
    if (!other_block) {
        if (Thread* t = popReady(w->block)) {
            return t;
        }
    }
    for (size_t i = 0; i < w->resident.size(); i++) {
        w->resident_at = w->resident_at + 1 == w->resident.size() ? 0 : w->resident_at + 1;
        if (Thread* t = popReady(w->resident[w->resident_at].get())) {
            return t;
        }
    }
    return nullptr;
}

void run(Worker* w, Thread* t) {
    enterBlock(w, t->owner);
    if (!t->started) {
        startThread(w, t);
    }
    w->current = t;
    *w->module->self = &t->view;
    if (kChecked) {
        t->accesses_left = w->options.accesses_per_thread;
        w->switches++;
    }
}

void leaveForever(Worker* w, Thread* t) {
    Thread* next = nextThread(w);
    void* dead;
    if (next == nullptr) {
        w->current = nullptr;
        simt_switch(&dead, w->main_stack_pointer);
    } else {
        run(w, next);
        simt_switch(&dead, next->stack_pointer);
    }
    (void)t;
    __builtin_unreachable();
}

void threadMain() {
    Worker* w = worker;
    w->kernel->thunk(w->parameters);
    w = worker;
    Thread* t = w->current;
    Block* b = w->block;
    if (!t->copies.empty()) {
        FAIL(LaunchFailed, "the thread ends with %d asynchronous copies that it never waited for", (int)t->copies.size());
    }
    t->done = true;
    t->warp->exited |= 1u << t->view.lane;
    b->live--;
    progress(w);
    for (auto& meeting : t->warp->meetings) {
        if (meeting->arrived != 0 && (meeting->mask >> t->view.lane & 1)) {
            Thread* other = t->warp->lanes[__builtin_ctz(meeting->arrived)];
            FAIL(LaunchFailed, "the thread has exited, but lane %u waits for it in %s with mask 0x%08x at %s:%d", other->view.lane,
                 other->wait_what, meeting->mask, other->wait_file, other->wait_line);
        }
    }
    if (b->arrived > 0) {
        Thread* other = b->waiting[0];
        FAIL(LaunchFailed, "divergent barrier: the thread has exited while %d threads, %s first, wait at the barrier at %s:%d", b->arrived,
             threadName(other).c_str(), other->wait_file, other->wait_line);
    }
    leaveForever(w, t);
}

void growStacks(Worker* w, size_t count) {
    if (w->stack_count >= count) {
        return;
    }
    if (w->stacks != nullptr) {
        munmap(w->stacks, w->stack_count * kStackBytes);
    }
    w->stacks = (uint8_t*)mmap(nullptr, count * kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (w->stacks == MAP_FAILED) {
        w->stacks = nullptr;
        w->stack_count = 0;
        throw std::bad_alloc();
    }
    w->stack_count = count;
}

// Threads of a block in their first state; `stack` is the number of the first one's stack.
void prepareBlock(Worker* w, Block* b, uint64_t number, size_t stack) {
    const Launch& l = *w->launch;
    uint32_t count = l.block.x * l.block.y * l.block.z, warps = (count + 31) / 32;
    b->number = (uint32_t)number;
    b->view.index = {(uint32_t)(number % l.grid.x), (uint32_t)(number / l.grid.x % l.grid.y), (uint32_t)(number / l.grid.x / l.grid.y)};
    b->view.block_dim = l.block;
    b->view.grid_dim = l.grid;
    b->view.dynamic_shared = b->dynamic;
    b->first_epoch = b->epoch = ++w->epoch;
    b->acquired = false;
    b->live = (int)count;
    b->arrived = 0;
    b->predicate = 0;
    b->waiting.clear();
    if (b->threads.size() != count) {
        b->threads.clear();
        b->threads.resize(count);
        b->warps.clear();
        b->warps.resize(warps);
        b->ready.assign(count, nullptr);
    }
    for (uint32_t i = 0; i < warps; i++) {
        Warp& warp = b->warps[i];
        warp.present = warp.exited = 0;
        for (auto& meeting : warp.meetings) {
            meeting->arrived = 0;
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        Thread& t = b->threads[i];
        t.view.index = {i % l.block.x, i / l.block.x % l.block.y, i / l.block.x / l.block.y};
        t.view.lane = i % 32;
        t.view.block = &b->view;
        t.owner = b;
        t.warp = &b->warps[i / 32];
        t.warp->lanes[i % 32] = &t;
        t.warp->present |= 1u << (i % 32);
        t.id = (uint16_t)i;
        t.stack_low = w->stacks + (stack + i) * kStackBytes;
        t.clock = 1;
        t.done = t.started = t.spinning = false;
        t.wait_file = nullptr;
        t.copies.clear();
        t.open_group = 0;
    }
    b->ready_head = 0;
    b->ready_count = count;
    for (uint32_t i = 0; i < count; i++) {
        b->ready[i] = &b->threads[w->options.seed == 1 ? count - 1 - i : i];
    }
    if (w->options.seed > 1) {
        std::shuffle(b->ready.begin(), b->ready.end(), std::minstd_rand((uint32_t)(w->options.seed * 7919 + (int64_t)number)));
    }
}

// Runs what is ready until nothing is; true if every thread came to its end.
bool runFibers(Worker* w) {
    while (Thread* t = nextThread(w)) {
        run(w, t);
        simt_switch(&w->main_stack_pointer, t->stack_pointer);
        if (w->failed) {
            return false;
        }
    }
    return true;
}

void reportDeadlock(Worker* w, Block* b) {
    int done = 0;
    std::string waiting;
    std::vector<std::pair<std::string, int>> places;
    for (Thread& t : b->threads) {
        if (t.done) {
            done++;
            continue;
        }
        std::string place = t.wait_file == nullptr ? "nowhere" : format("in %s at %s:%d", t.wait_what, t.wait_file, t.wait_line);
        auto known = std::find_if(places.begin(), places.end(), [&](auto& p) { return p.first == place; });
        if (known == places.end()) {
            places.push_back({place, 1});
        } else {
            known->second++;
        }
    }
    for (auto& place : places) {
        waiting += format("; %d threads wait %s", place.second, place.first.c_str());
    }
    w->failed = true;
    w->failure = LaunchFailed;
    w->failure_text = format("%s: block (%u,%u,%u): deadlock: %d threads have exited%s", w->launch->function->name.c_str(), b->view.index.x,
                             b->view.index.y, b->view.index.z, done, waiting.c_str());
}

void beginLaunch(Worker* w, const Shared& s) {
    const Launch& l = *s.launch;
    worker = w;
    w->launch = &l;
    w->options = s.options;
    w->launch_tag = s.tag;
    w->many_blocks = s.blocks > 1;
    w->failed = false;
    w->failure = Success;
    w->failure_text.clear();
    w->block = nullptr;
    w->dynamic_size = l.shared_bytes;
    w->accesses = w->switches = w->mma = w->async_copies = 0;
    progress(w);
    if (w->epoch > 0xF0000000u) {
        w->epoch = 0;
        std::fill(w->dynamic_cells.begin(), w->dynamic_cells.end(), SharedCell{});
        std::fill(w->static_cells.begin(), w->static_cells.end(), SharedCell{});
    }
}

void endLaunch(Worker* w, Shared& s) {
    KernelStats* stats = s.launch->function->stats;
    stats->accesses += w->accesses;
    stats->switches += w->switches;
    stats->mma += w->mma;
    stats->async_copies += w->async_copies;
    if (w->failed) {
        std::lock_guard<std::mutex> guard(s.lock);
        if (s.result == Success) {
            s.result = w->failure;
            s.text = w->failure_text;
        }
        s.failed = true;
        w->scratch.threads.clear(); // drops what the abandoned fibers had under way
    }
    w->current = nullptr;
    w->block = nullptr;
    worker = nullptr;
}

bool prepareWorker(Worker* w, Shared& s, std::vector<void*>& parameters) {
    const Launch& l = *s.launch;
    std::string error;
    w->module = l.function->module->copy(w->number, error);
    if (w->module == nullptr) {
        std::lock_guard<std::mutex> guard(s.lock);
        s.result = InvalidImage;
        s.text = error;
        s.failed = true;
        return false;
    }
    w->kernel = &w->module->kernels[(size_t)l.function->index];
    parameters.clear();
    for (uint32_t offset : w->kernel->offsets) {
        parameters.push_back((uint8_t*)l.arguments.data() + offset);
    }
    w->parameters = parameters.data();
    return true;
}

void runBlocks(Worker* w, Shared& s) {
    std::vector<void*> parameters;
    if (!prepareWorker(w, s, parameters)) {
        return;
    }
    const Launch& l = *s.launch;
    uint32_t count = l.block.x * l.block.y * l.block.z;
    growStacks(w, count);
    beginLaunch(w, s);
    size_t static_size = (size_t)(w->module->shared_end - w->module->shared);
    constexpr size_t kDynamic = 256 * 1024;
    if (w->dynamic_memory == nullptr) {
        w->dynamic_memory = (uint8_t*)mmap(nullptr, kDynamic, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    }
    if (kChecked) {
        if (w->dynamic_cells.size() < l.shared_bytes / 2 + 8) {
            w->dynamic_cells.resize(l.shared_bytes / 2 + 8);
        }
        if (w->static_cells.size() < static_size / 2 + 8) {
            w->static_cells.resize(static_size / 2 + 8);
        }
    }
    Block* b = &w->scratch;
    b->dynamic = w->dynamic_memory;
    b->dynamic_cells = w->dynamic_cells.data();
    b->static_cells = w->static_cells.data();
    for (;;) {
        uint64_t number = s.next.fetch_add(1, std::memory_order_relaxed);
        if (number >= s.blocks || s.failed.load(std::memory_order_relaxed)) {
            break;
        }
        memset(b->dynamic, 0xFF, l.shared_bytes);
        memset(w->module->shared, 0xFF, static_size);
        prepareBlock(w, b, number, 0);
        w->block = b;
        if (!runFibers(w)) {
            break;
        }
        if (b->live > 0) {
            reportDeadlock(w, b);
            break;
        }
    }
    endLaunch(w, s);
}

void runResident(Worker* w, Shared& s) {
    std::vector<void*> parameters;
    if (!prepareWorker(w, s, parameters)) {
        return;
    }
    const Launch& l = *s.launch;
    uint32_t count = l.block.x * l.block.y * l.block.z;
    growStacks(w, (size_t)count * s.blocks);
    beginLaunch(w, s);
    size_t static_size = (size_t)(w->module->shared_end - w->module->shared);
    w->resident.clear();
    w->released.clear();
    for (uint64_t i = 0; i < s.blocks; i++) {
        auto b = std::make_unique<Block>();
        b->owned_dynamic.assign(l.shared_bytes + 256, 0xFF);
        b->dynamic = (uint8_t*)(((uintptr_t)b->owned_dynamic.data() + 127) & ~(uintptr_t)127);
        b->saved_static.assign(static_size, 0xFF);
        if (kChecked) {
            size_t dynamic_cells = l.shared_bytes / 2 + 8;
            b->owned_cells.assign(dynamic_cells + static_size / 2 + 8, SharedCell{});
            b->dynamic_cells = b->owned_cells.data();
            b->static_cells = b->owned_cells.data() + dynamic_cells;
        }
        prepareBlock(w, b.get(), i, (size_t)count * i);
        b->clocks.assign(s.blocks, 0);
        b->clocks[i] = 1;
        w->resident.push_back(std::move(b));
    }
    w->resident_at = 0;
    memset(w->module->shared, 0xFF, static_size);
    w->block = nullptr;
    enterBlock(w, w->resident[0].get());
    if (runFibers(w)) {
        for (auto& b : w->resident) {
            if (b->live > 0) {
                reportDeadlock(w, b.get());
                break;
            }
        }
    }
    w->block = nullptr;
    w->resident.clear();
    endLaunch(w, s);
}

// --- the host threads ---

class Team {
public:
    void run(Shared& s) {
        int wanted = s.options.threads > 0 ? (int)s.options.threads : (int)std::max(1u, std::thread::hardware_concurrency());
        wanted = (int)std::min<uint64_t>((uint64_t)std::min(wanted, 64), s.blocks);
        if (first == nullptr) {
            first = makeWorker(0);
        }
        if (s.launch->cooperative) {
            runResident(first, s);
            return;
        }
        if (wanted > 1) {
            std::lock_guard<std::mutex> guard(lock);
            while ((int)threads.size() < wanted - 1) {
                Worker* w = makeWorker((int)threads.size() + 1);
                threads.emplace_back([this, w] { serve(w); });
                threads.back().detach();
            }
            job = &s;
            job_number++;
            members = wanted - 1;
            wake.notify_all();
        }
        runBlocks(first, s);
        if (wanted > 1) {
            std::unique_lock<std::mutex> guard(lock);
            job = nullptr; // who has not come yet need not come
            idle.wait(guard, [this] { return active == 0; });
        }
    }

private:
    static Worker* makeWorker(int number) {
        auto* w = new Worker;
        w->number = number;
        return w;
    }

    void serve(Worker* w) {
        uint64_t seen = 0;
        std::unique_lock<std::mutex> guard(lock);
        for (;;) {
            wake.wait(guard, [&] { return job != nullptr && job_number != seen && w->number <= members; });
            seen = job_number;
            Shared* s = job;
            active++;
            guard.unlock();
            runBlocks(w, *s);
            guard.lock();
            if (--active == 0) {
                idle.notify_all();
            }
        }
    }

    std::mutex lock;
    std::condition_variable wake, idle;
    Shared* job = nullptr;
    uint64_t job_number = 0;
    int members = 0, active = 0;
    Worker* first = nullptr;
    std::vector<std::thread> threads;
};

} // namespace

void makeReady(Thread* t) {
    Block* b = t->owner;
    uint32_t at = b->ready_head + b->ready_count;
    if (at >= b->ready.size()) {
        at -= (uint32_t)b->ready.size();
    }
    b->ready[at] = t;
    b->ready_count++;
}

void suspend(Worker* w, bool other_block) {
    Thread* t = w->current;
    Thread* next = nextThread(w, other_block);
    if (next == t) {
        return;
    }
    if (next == nullptr) {
        w->current = nullptr;
        simt_switch(&t->stack_pointer, w->main_stack_pointer);
    } else {
        run(w, next);
        simt_switch(&t->stack_pointer, next->stack_pointer);
    }
}

std::string threadName(const Thread* t) {
    const Index3 &b = t->view.block->index, &i = t->view.index;
    return format("block (%u,%u,%u) thread (%u,%u,%u)", b.x, b.y, b.z, i.x, i.y, i.z);
}

void fail(Result result, const std::string& what, void* frame) {
    Worker* w = worker;
    Thread* t = w->current;
    // Code addresses up the fiber's stack; the plain flavour keeps no frame pointers.
    std::vector<uintptr_t> addresses;
    if (kChecked) {
        uintptr_t at = (uintptr_t)frame, low = (uintptr_t)t->stack_low, high = low + kStackBytes - 16;
        for (int depth = 0; depth < 32 && at >= low && at < high; depth++) {
            uintptr_t next = ((uintptr_t*)at)[0], code = ((uintptr_t*)at)[1];
            if (code == 0) {
                break;
            }
            addresses.push_back(code - 1);
            if (next <= at) {
                break;
            }
            at = next;
        }
    }
    w->failed = true;
    w->failure = result;
    std::string place = sourceOf(addresses);
    w->failure_text = w->launch->function->name + ": " + threadName(t) + ": " + what + (place.empty() ? "" : ", " + place);
    void* dead;
    simt_switch(&dead, w->main_stack_pointer);
    __builtin_unreachable();
}

Result runGrid(const Launch& launch) {
    // Never destroyed: at exit its threads still wait, and the process need not wait for them.
    static Team& team = *new Team;
    Shared s;
    s.launch = &launch;
    s.options = options;
    s.blocks = (uint64_t)launch.grid.x * launch.grid.y * launch.grid.z;
    // Twelve bits of launch and twenty of block make a race cell's tag.
    uint32_t tag = launchTag.fetch_add(1) + 1;
    if ((tag & 0xFFF) == 0) {
        clearRaceCells();
        tag = launchTag.fetch_add(1) + 1;
    }
    s.tag = tag & 0xFFF;
    team.run(s);
    KernelStats* stats = launch.function->stats;
    stats->launches++;
    stats->blocks += (long long)s.blocks;
    if (s.result != Success) {
        setError(s.text);
    }
    return s.result;
}
