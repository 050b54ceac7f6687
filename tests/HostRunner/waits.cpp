// What a thread calls to wait for others: the block's barrier, and the yield of who spins.
#include "fiber.h"
#include <algorithm>
#include <chrono>
#include <cstring>
#include <random>
#include <thread>


EXPORT int simt_barrier(int kind, int predicate, const char* file, int line) {
    Worker* w = worker;
    Thread* t = w->current;
    Block* b = w->block;
    int count = (int)b->threads.size();
    if (b->live < count) {
        FAIL(LaunchFailed, "divergent barrier: the thread comes to the barrier at %s:%d, but %d of the block's %d threads have exited", file,
             line, count - b->live, count);
    }
    if (b->arrived == 0) {
        b->arrived_kind = kind;
        b->predicate = kind == 2 ? 1 : 0;
    } else if (kChecked) {
        Thread* first = b->waiting[0];
        if (first->wait_line != line || strcmp(first->wait_file, file) != 0) {
            FAIL(LaunchFailed, "divergent barrier: the thread is at the barrier at %s:%d, but %s waits at the one at %s:%d", file, line,
                 threadName(first).c_str(), first->wait_file, first->wait_line);
        }
    }
    predicate = predicate != 0;
    b->predicate = kind == 1 ? b->predicate + predicate : kind == 2 ? (b->predicate & predicate) : (b->predicate | predicate);
    if (++b->arrived < count) {
        t->wait_file = file;
        t->wait_line = line;
        t->wait_what = "__syncthreads";
        b->waiting.push_back(t);
        suspend(w);
        t->wait_file = nullptr;
        return b->predicate;
    }
    // The last one: everybody's past is now behind everybody.
    progress(w);
    b->arrived = 0;
    b->epoch = ++w->epoch;
    if (w->options.seed == 1) {
        std::reverse(b->waiting.begin(), b->waiting.end());
    } else if (w->options.seed > 1) {
        std::shuffle(b->waiting.begin(), b->waiting.end(), std::minstd_rand((uint32_t)(w->options.seed + b->epoch)));
    }
    t->clock = 1;
    for (Thread* other : b->waiting) {
        other->clock = 1;
        makeReady(other);
    }
    b->waiting.clear();
    return b->predicate;
}

// Lets the others run. Who only ever yields waits for something that never comes.
EXPORT void simt_yield() {
    Worker* w = worker;
    Thread* t = w->current;
    if (++w->idle_yields % 1024 == 0) {
        double time = std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
        if (w->idle_yields == 1024) {
            w->idle_since = time;
        } else if ((time - w->idle_since) * 1000 > (double)w->options.spin_milliseconds) {
            FAIL(LaunchTimeout, "endless spin: nothing has changed for %lld ms while the thread waits for another one", (long long)w->options.spin_milliseconds);
        }
        if (w->resident.empty()) {
            std::this_thread::yield(); // the block that is waited for may be another worker's
        }
    }
    makeReady(t);
    suspend(w, !w->resident.empty()); // in resident mode a spinning block gives way to the others
}

EXPORT void simt_trap(const char* what, const char* file, int line) {
    FAIL(Assert, "%s at %s:%d", what, file, line);
}
