// Grids: blocks are pulled by host threads, one block at a time each. A cooperative launch keeps all its blocks alive on one
// host thread.
#include "fiber.h"
#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <sys/mman.h>
#include <thread>

thread_local Worker* worker = nullptr;
thread_local Options options = firstOptions();
std::atomic<uint32_t> launchTag{0};

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
