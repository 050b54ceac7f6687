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

// --- the work, in the order in which it is queued ---

Result validRange(uintptr_t p, size_t n, const char* what);
// Everything that takes a stream ends here: done at once, captured, or (option "deferred") kept until somebody waits.
Result submit(Context* context, Stream* s, Op&& op);
bool nothingPending();
Result drain();
Result synchronise(Context* context);

EXPORT int cuCtxSynchronize();
