// libcuda's names: streams, events, captures and graphs.
#include "driver.h"

// --- streams and events ---

EXPORT int cuStreamCreate(Stream** s, unsigned flags) {
    static uint64_t made = 0;
    CURRENT;
    *s = streams.add(new Stream{context, (flags & 1) == 0, ++made});
    return Success;
}
EXPORT int cuStreamCreateWithPriority(Stream** s, unsigned flags, int) { return cuStreamCreate(s, flags); }
EXPORT int cuStreamDestroy_v2(Stream* s) {
    CURRENT;
    if (!streams.has(s)) {
        return error(InvalidHandle, "not a stream");
    }
    drain(context);
    streams.drop(s);
    return Success;
}
EXPORT int cuStreamSynchronize(Stream* s) {
    STREAM;
    if (s != nullptr && s->capture != nullptr) {
        s->capture->invalid = true;
        return error(CaptureUnsupported, "a stream that is being captured cannot be waited for");
    }
    return synchronise(context, s);
}
EXPORT int cuStreamQuery(Stream* s) {
    STREAM;
    Stream* which = s == nullptr ? &defaultStream : s;
    if (which->pending.empty()) {
        return Success;
    }
    finish(which);
    return NotReady;
}
EXPORT int cuStreamBeginCapture_v2(Stream* s, int) {
    STREAM;
    if (s == nullptr || s->capture != nullptr) {
        return error(CaptureUnsupported, "the default stream cannot be captured, nor a stream twice");
    }
    s->capture = new Capture{s};
    return Success;
}
EXPORT int cuStreamIsCapturing(Stream* s, int* status) {
    STREAM;
    *status = s == nullptr || s->capture == nullptr ? 0 : s->capture->invalid ? 2 : 1;
    return Success;
}
EXPORT int cuStreamEndCapture(Stream* s, Graph** graph) {
    STREAM;
    if (s == nullptr || s->capture == nullptr || s->capture->origin != s) {
        return error(InvalidValue, "the stream is not being captured");
    }
    Capture* c = s->capture;
    for (Stream* other : streams.live) {
        if (other->capture == c) other->capture = nullptr;
    }
    for (Event* e : events.live) {
        if (e->capture == c) e->capture = nullptr;
    }
    bool invalid = c->invalid;
    *graph = invalid ? nullptr : graphs.add(new Graph{std::move(c->ops)});
    delete c;
    return invalid ? error(CaptureInvalidated, "something was called that cannot be captured") : Success;
}
EXPORT int cuEventCreate(Event** e, unsigned) {
    CURRENT;
    *e = events.add(new Event{context});
    return Success;
}
EXPORT int cuEventDestroy_v2(Event* e) {
    CURRENT;
    if (!events.has(e)) {
        return error(InvalidHandle, "not an event");
    }
    drain(context);
    events.drop(e);
    return Success;
}
#define EVENT                                                                        \
    CURRENT;                                                                         \
    if (!events.has(e)) return error(InvalidHandle, "not an event")

EXPORT int cuEventRecord(Event* e, Stream* s) {
    EVENT;
    if (s != nullptr && !streams.has(s)) {
        return error(InvalidHandle, "not a stream");
    }
    if (s != nullptr && s->capture != nullptr) {
        e->capture = s->capture;
        return Success;
    }
    e->capture = nullptr;
    Op op{Record};
    op.event = e;
    op.ticket = ++e->issued;
    return submit(context, s, std::move(op));
}
EXPORT int cuStreamWaitEvent(Stream* s, Event* e, unsigned) {
    EVENT;
    if (s != nullptr && !streams.has(s)) {
        return error(InvalidHandle, "not a stream");
    }
    // A captured event draws the stream into its capture, where work is in one order anyway.
    if (e->capture != nullptr && s != nullptr && s->capture == nullptr) {
        s->capture = e->capture;
    }
    if (e->issued == 0 || (s != nullptr && s->capture != nullptr)) {
        return Success;
    }
    Op op{Wait};
    op.event = e;
    op.ticket = e->issued;
    return submit(context, s, std::move(op));
}
EXPORT int cuEventSynchronize(Event* e) {
    EVENT;
    Result r = e->done < e->issued ? reach(e, e->issued) : Success;
    return r != Success ? r : check(context);
}
EXPORT int cuEventQuery(Event* e) {
    EVENT;
    if (e->done == e->issued) {
        return Success;
    }
    reach(e, e->issued);
    return NotReady;
}
EXPORT int cuEventElapsedTime(float* ms, Event* begin, Event* e) {
    EVENT;
    if (!events.has(begin) || begin->issued == 0 || e->issued == 0) {
        return error(InvalidHandle, "an event was not recorded");
    }
    drain(context);
    *ms = (float)((e->time - begin->time) * 1000);
    return Success;
}
EXPORT int cuEventElapsedTime_v2(float* ms, Event* begin, Event* e) { return cuEventElapsedTime(ms, begin, e); }

// --- graphs: an executable graph is a copy of the graph ---

EXPORT int cuGraphInstantiateWithFlags(Graph** exec, Graph* g, unsigned long long) {
    CURRENT;
    if (!graphs.has(g)) {
        return error(InvalidHandle, "not a graph");
    }
    *exec = graphs.add(new Graph(*g));
    return Success;
}
EXPORT int cuGraphGetNodes(Graph* g, void** nodes, size_t* count) {
    CURRENT;
    if (!graphs.has(g)) {
        return error(InvalidHandle, "not a graph");
    }
    if (nodes != nullptr) {
        for (size_t i = 0; i < *count && i < g->ops.size(); i++) nodes[i] = &g->ops[i];
    }
    *count = g->ops.size();
    return Success;
}
EXPORT int cuGraphLaunch(Graph* g, Stream* s) {
    STREAM;
    if (!graphs.has(g)) {
        return error(InvalidHandle, "not a graph");
    }
    for (Op& op : g->ops) {
        if (op.kind == Kernel && functions.count(op.launch.function) == 0) {
            return error(InvalidHandle, "the graph launches a function whose module was unloaded");
        }
        Op again = op;
        if (Result r = submit(context, s, std::move(again))) return r;
    }
    return Success;
}
EXPORT int cuGraphUpload(Graph*, Stream*) { return Success; }
EXPORT int cuGraphDestroy(Graph* g) {
    std::lock_guard<std::recursive_mutex> guard(api);
    if (!graphs.has(g)) {
        return error(InvalidHandle, "not a graph");
    }
    graphs.drop(g);
    return Success;
}
EXPORT int cuGraphExecDestroy(Graph* g) { return cuGraphDestroy(g); }
