// The driver's order of work. Work is done at once, or (option "deferred") later: each stream keeps its own order, and streams
// know of each other only by events. A captured graph keeps each call's arguments by value and does it all again. The functions under
// libcuda's names are in driver_device.cpp, driver_memory.cpp, driver_code.cpp and driver_streams.cpp.
#include "driver.h"
#include <algorithm>
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
Stream defaultStream;

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
        op.event->done = std::max(op.event->done, op.ticket);
        return Success;
    case Wait: return Success;
    }
    return Success;
}

// All streams, the default one first, then in the order of their making.
std::vector<Stream*> allStreams() {
    std::vector<Stream*> all(streams.live.begin(), streams.live.end());
    std::sort(all.begin(), all.end(), [](Stream* a, Stream* b) { return a->serial < b->serial; });
    all.insert(all.begin(), &defaultStream);
    return all;
}

// Does the stream's next piece of work, and before it whatever that waits for.
Result advance(Stream* s) {
    Op* next = &s->pending.front().op;
    if (next->kind == Wait && next->event->done < next->ticket) {
        if (Result r = reach(next->event, next->ticket)) return r;
    }
    Pending p = std::move(s->pending.front());
    s->pending.pop_front();
    return p.context->broken != Success ? Success : breakContext(p.context, execute(p.op));
}

// Which of the orders that events allow is taken: see the option in engine.h.
Result interleave(Stream* submitted) {
    static uint64_t seed = 0, state = 0;
    std::vector<Stream*> all;
    for (Stream* s : allStreams()) {
        if (s->context == submitted->context) {
            all.push_back(s);
        }
    }
    if (options.deferred == 2) {
        return submitted != all[0] ? finish(submitted) : Success;
    }
    if (options.deferred > 2) {
        if (seed != (uint64_t)options.deferred) {
            state = (seed = (uint64_t)options.deferred) * 0x9E3779B97F4A7C15u;
        }
        auto draw = [&](uint64_t n) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            return (state >> 33) % n;
        };
        for (uint64_t steps = draw(4); steps > 0; steps--) {
            Stream* s = all[draw(all.size())];
            if (!s->pending.empty()) {
                if (Result r = advance(s)) return r;
            }
        }
    }
    return Success;
}

} // namespace

Result finish(Stream* s) {
    Result first = Success;
    while (!s->pending.empty()) {
        Result r = advance(s);
        first = first == Success ? r : first;
    }
    return first;
}

Result reach(Event* e, uint64_t ticket) {
    Result first = Success;
    for (Stream* s : allStreams()) {
        auto here = [&] {
            return std::any_of(s->pending.begin(), s->pending.end(),
                               [&](const Pending& p) { return p.op.kind == Record && p.op.event == e && p.op.ticket <= ticket; });
        };
        while (e->done < ticket && here()) {
            Result r = advance(s);
            first = first == Success ? r : first;
        }
    }
    e->done = std::max(e->done, ticket); // work of a broken context is dropped, its records too
    return first;
}

Result drain(Context* context) {
    Result first = Success;
    for (Stream* s : allStreams()) {
        Result r = context == nullptr || s->context == nullptr || s->context == context ? finish(s) : Success;
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
    if (s == nullptr) { // the default stream and those that block on it are one order
        s = &defaultStream;
        for (Stream* other : allStreams()) {
            if (other->blocking && other != s) {
                if (Result r = finish(other)) return r;
            }
        }
    } else if (s->blocking) {
        if (Result r = finish(&defaultStream)) return r;
    }
    if (options.deferred != 0 && op.kind == Copy && !inArena(op.from)) {
        op.staged.assign((const uint8_t*)op.from, (const uint8_t*)op.from + op.bytes);
        op.use_staged = true;
    }
    bool wait = options.deferred == 0 || (op.kind == Copy && !inArena(op.to)); // a copy to pageable memory waits
    s->pending.push_back({context, std::move(op)});
    return wait ? finish(s) : interleave(s);
}

Result synchronise(Context* context, Stream* s) {
    Result r = s == nullptr ? drain(context) : finish(s);
    return r != Success ? r : check(context);
}

// The launch after so many from now fails, whoever queues it, as if its kernel had touched memory that is not its own: for tests of
// what becomes of an engine then. 0 takes it back.
EXPORT void kvcudaHostFailIn(long long launches) { failIn = launches; }
