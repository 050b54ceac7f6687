// A CUDA thread as a fiber: it runs until it has to wait, then another one that is ready does.
#include "fiber.h"
#include <algorithm>
#include <cstring>
#include <random>
#include <sys/mman.h>

// --- switching stacks: 14 instructions of x86-64 ---

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
    if (!t->products.empty()) {
        FAIL(LaunchFailed, "the thread ends with %d products of its warpgroup that it never waited for", (int)t->products.size());
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

} // namespace

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
        t.products.clear();
        t.sums.clear();
        t.open_products = 0;
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
