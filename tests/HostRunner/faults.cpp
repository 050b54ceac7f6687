// What is said when a kernel goes wrong: who, where, and up the chain of calls; or who waits for whom.
#include "fiber.h"
#include <algorithm>

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
