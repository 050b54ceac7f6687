// What the driver's files share: its objects, the order of the work, and the checks that every call begins with.
#pragma once
#include "engine.h"
#include <deque>
#include <map>
#include <mutex>
#include <unordered_set>

extern std::recursive_mutex api; // one call at a time; compiling does not take it

struct Context {
    Result broken = Success;
    std::string broken_text;
    bool primary = false;
};

struct Capture;
struct Event {
    Context* context;
    double time = 0;
    uint64_t issued = 0, done = 0; // records that were queued, and the last one that was reached
    Capture* capture = nullptr;
};

enum Kind { Kernel, Copy, Fill, Record, Wait };
struct Op {
    Kind kind;
    Launch launch;
    uintptr_t to = 0, from = 0;
    size_t bytes = 0;
    uint32_t value = 0;
    int width = 1; // of a fill
    Event* event = nullptr;
    uint64_t ticket = 0; // which record of the event
    std::vector<uint8_t> staged; // pageable host memory is read when the copy is queued
    bool use_staged = false;
};
struct Pending { Context* context; Op op; };
struct Stream {
    Context* context = nullptr;
    bool blocking = true;         // keeps order with the default stream
    uint64_t serial = 0;          // of its making
    Capture* capture = nullptr;
    std::deque<Pending> pending;  // queued and not yet done
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

extern bool initialised;
extern Handles<Context> contexts;
extern Handles<Stream> streams;
extern Handles<Event> events;
extern Handles<Graph> graphs;
extern std::unordered_set<Module*> modules;
extern std::unordered_set<Function*> functions;
extern std::map<std::string, KernelStats*> stats;
extern thread_local std::vector<Context*> current;

Result error(Result r, const std::string& text);
Context* currentContext(); // null if there is none, or it was destroyed
Result check(Context* c);

#define CURRENT                                                      \
    std::lock_guard<std::recursive_mutex> guard(api);                \
    Context* context = currentContext();                             \
    if (Result r = check(context)) return r

#define STREAM                                                                                     \
    CURRENT;                                                                                       \
    if (s != nullptr && !streams.has(s)) return error(InvalidHandle, "not a stream")

// --- the work, in an order that streams and events allow ---

Result validRange(uintptr_t p, size_t n, const char* what);
// Everything that takes a stream ends here: done at once, captured, or (option "deferred") done later.
Result submit(Context* context, Stream* s, Op&& op);
// Does what the stream holds, and what that waits for.
Result finish(Stream* s);
// Runs the stream that an event's record lies in, up to it.
Result reach(Event* e, uint64_t ticket);
// Everything of a context, or of all.
Result drain(Context* context = nullptr);
// Waits for a stream, or (null) for all of the context.
Result synchronise(Context* context, Stream* s);
extern Stream defaultStream;

EXPORT int cuCtxSynchronize();
