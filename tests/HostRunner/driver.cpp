// The driver's order of work. Work is done in the order in which it is queued: at once, or (option "deferred") when
// somebody waits for it. A captured graph keeps each call's arguments by value and does it all again. The functions under
// libcuda's names are in driver_device.cpp, driver_memory.cpp, driver_code.cpp and driver_streams.cpp.
#include "driver.h"
#include <chrono>
#include <cstring>

std::recursive_mutex api;
bool initialised = false;
Handles<Context> contexts;
Handles<Stream> streams;
Handles<Event> events;
Handles<Graph> graphs;
std::unordered_set<Module*> modules;
std::unordered_set<Function*> functions;
std::map<std::string, KernelStats*> stats;
thread_local std::vector<Context*> current;

Context* currentContext() {
    if (!current.empty() && !contexts.has(current.back())) {
        return nullptr;
    }
    return current.empty() ? nullptr : current.back();
}

Result error(Result r, const std::string& text) {
    setError(text);
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

Result validRange(uintptr_t p, size_t n, const char* what) {
    if (!inArena(p)) {
        return error(InvalidValue, format("%s: %p is not device memory", what, (void*)p));
    }
    std::string why = n == 0 ? "" : whyNotDevice(p, n);
    return why.empty() ? Success : error(InvalidValue, format("%s: %zu bytes at %p: %s", what, n, (void*)p, why.c_str()));
}

namespace {

struct Pending { Context* context; Op op; };
std::deque<Pending> pending;
std::atomic<long long> failIn{0}; // launches until one fails; 0: none will

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// A kernel's fault leaves the context unusable, as on a GPU.
Result breakContext(Context* c, Result r) {
    if (r >= IllegalAddress && r != LaunchOutOfResources && r != CooperativeLaunchTooLarge && c->broken == Success) {
        c->broken = r;
        c->broken_text = lastError();
    }
    return r;
}

Result launchKernel(const Launch& launch) {
    if (failIn.load(std::memory_order_relaxed) > 0 && failIn.fetch_sub(1) == 1) {
        return error(IllegalAddress, launch.function->name + ": a failure that was asked for (kvcudaHostFailIn)");
    }
    return runGrid(launch);
}

Result execute(Op& op) {
    switch (op.kind) {
    case Kernel: return launchKernel(op.launch);
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

} // namespace

bool nothingPending() { return pending.empty(); }

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

Result synchronise(Context* context) {
    Result r = drain();
    return r != Success ? r : check(context);
}

// The launch after so many from now fails, whoever queues it, as if its kernel had touched memory that is not its own: for tests of
// what becomes of an engine then. 0 takes it back.
EXPORT void kvcudaHostFailIn(long long launches) { failIn = launches; }
