// The checked flavour: g++'s -fsanitize=thread calls us before every load and store of a kernel (its own run-time library
// is not linked), and every address is looked up: the thread's own stack, shared memory, a live device allocation, or wrong.
#include "fiber.h"
#include <cstring>

#ifdef KVCUDA_HOST_PLAIN

void checkRead(Worker*, uintptr_t, size_t, void*) {}
void checkWrite(Worker*, uintptr_t, size_t, void*) {}
void checkAtomic(Worker*, uintptr_t, size_t, bool, void*) {}
void issueCopy(Worker*, AsyncCopy& c, void*) { (void)c; }
void landCopy(Worker*, const AsyncCopy&) {}
void orderBlocks(Worker* w, uintptr_t, bool, bool) { w->block->acquired = true; }
uint16_t* clocksOf(Thread* t) { return t->clocks.data(); }

#else

uint16_t* clocksOf(Thread* t) {
    Block* b = t->owner;
    if (t->clocks_epoch != b->epoch || t->clocks.size() != b->threads.size()) {
        t->clocks.assign(b->threads.size(), 0);
        t->clocks_epoch = b->epoch;
    }
    return t->clocks.data();
}

namespace {

// --- shared memory: happens-before between the threads of a block ---

bool ordered(Block* b, Thread* t, uint32_t epoch, uint16_t who, uint16_t clock) {
    if (epoch < b->epoch || who == t->id) {
        return true;
    }
    return t->clocks_epoch == b->epoch && t->clocks.size() > who && t->clocks[who] >= clock;
}

std::string sharedPlace(Worker* w, uintptr_t p) {
    uintptr_t dynamic = (uintptr_t)w->block->dynamic;
    return p - dynamic < w->dynamic_size ? format("byte %ld of dynamic shared memory", (long)(p - dynamic))
                                         : format("static shared memory (byte %ld of the module's)", (long)(p - (uintptr_t)w->module->shared));
}

void sharedAccess(Worker* w, SharedCell* cells, uintptr_t offset, uintptr_t p, size_t n, bool write, void* frame) {
    Thread* t = w->current;
    Block* b = w->block;
    for (uintptr_t i = offset / 2; i <= (offset + n - 1) / 2; i++) {
        SharedCell& c = cells[i];
        bool written = c.write_epoch >= b->first_epoch;
        if (written && c.in_flight) {
            fail(LaunchFailed, format("%s of %s, the destination of an asynchronous copy of thread %d, before its wait", write ? "write" : "read",
                                      sharedPlace(w, p).c_str(), c.writer), frame);
        }
        if (!write) {
            if (!written && w->options.uninitialised) {
                fail(LaunchFailed, format("uninitialised shared read of %s: no thread of the block has written it", sharedPlace(w, p).c_str()), frame);
            }
            if (written && w->options.races && !ordered(b, t, c.write_epoch, c.writer, c.write_clock)) {
                fail(LaunchFailed, format("race in shared memory: reads %s, which thread %d wrote, with no barrier between", sharedPlace(w, p).c_str(), c.writer), frame);
            }
            if (c.read_epoch == b->epoch && c.reader != t->id) {
                c.reader2 = c.reader;
                c.read_clock2 = c.read_clock;
            } else if (c.read_epoch != b->epoch) {
                c.reader2 = t->id;
                c.read_clock2 = t->clock;
            }
            c.read_epoch = b->epoch;
            c.reader = t->id;
            c.read_clock = t->clock;
            continue;
        }
        if (w->options.races) {
            if (written && !ordered(b, t, c.write_epoch, c.writer, c.write_clock)) {
                fail(LaunchFailed, format("race in shared memory: writes %s, which thread %d wrote, with no barrier between", sharedPlace(w, p).c_str(), c.writer), frame);
            }
            if (c.read_epoch >= b->first_epoch) {
                bool one = ordered(b, t, c.read_epoch, c.reader, c.read_clock), two = ordered(b, t, c.read_epoch, c.reader2, c.read_clock2);
                if (!one || !two) {
                    fail(LaunchFailed, format("race in shared memory: writes %s, which thread %d reads, with no barrier between",
                                              sharedPlace(w, p).c_str(), one ? c.reader2 : c.reader), frame);
                }
            }
        }
        c.write_epoch = b->epoch;
        c.writer = t->id;
        c.write_clock = t->clock;
        c.in_flight = 0; // perhaps of a copy of an earlier block that was abandoned
    }
}

// --- global memory: extents, what was never written, races between blocks ---

// A race cell's halves: 12 bits of launch, 1 bit "by an atomic", 19 bits of block; the last block number means several.
constexpr uint32_t kSeveral = 0x7FFFF;
uint32_t tagOf(Worker* w, bool atomic, uint32_t block) { return w->launch_tag << 20 | (uint32_t)atomic << 19 | block; }

// In a cooperative launch, where blocks wait for one another, the 19 bits are 8 of block and 11 of its clock.
constexpr uint32_t kResidentBlocks = 255, kResidentClocks = 2047;
void residentRaces(Worker* w, uintptr_t p, size_t n, bool write, bool atomic, void* frame) {
    Block* b = w->block;
    uint32_t me = b->number, clock = b->clocks[me];
    if (w->resident.size() > kResidentBlocks || clock > kResidentClocks || b->acquired) {
        return; // more than the cells can say, or a fence whose meaning is not known
    }
    uint64_t* cells = raceCells(p);
    for (uintptr_t i = 0; i <= (p % 2 + n - 1) / 2; i++) {
        uint32_t writer = (uint32_t)cells[i], reader = (uint32_t)(cells[i] >> 32);
        auto unordered = [&](uint32_t tag) {
            uint32_t block = tag & 0xFF, then = tag >> 8 & kResidentClocks;
            return tag >> 20 == w->launch_tag && block != me && block < b->clocks.size() && b->clocks[block] < then;
        };
        bool by_atomic = writer >> 19 & 1;
        if (unordered(writer) && !(atomic && by_atomic)) {
            fail(LaunchFailed, format("race between blocks: %s a global address that block number %u %s, with no grid barrier between", write ? "writes" : "reads",
                                      writer & 0xFF, by_atomic ? "updates atomically" : "writes"), frame);
        }
        if (write && !atomic && unordered(reader)) {
            fail(LaunchFailed, format("race between blocks: writes a global address that block number %u reads, with no grid barrier between", reader & 0xFF), frame);
        }
        uint32_t tag = w->launch_tag << 20 | (uint32_t)atomic << 19 | clock << 8 | me;
        cells[i] = write ? (uint64_t)reader << 32 | tag : (uint64_t)tag << 32 | writer;
    }
}

void globalRaces(Worker* w, uintptr_t p, size_t n, bool write, bool atomic, void* frame) {
    if (!w->resident.empty()) {
        residentRaces(w, p, n, write, atomic, frame);
        return;
    }
    uint32_t me = w->block->number;
    if (me >= kSeveral) {
        return;
    }
    uint64_t* cells = raceCells(p);
    for (uintptr_t i = 0; i <= (p % 2 + n - 1) / 2; i++) {
        uint64_t cell = __atomic_load_n(&cells[i], __ATOMIC_RELAXED);
        uint32_t writer = (uint32_t)cell, reader = (uint32_t)(cell >> 32);
        bool written = writer >> 20 == w->launch_tag, by_atomic = writer >> 19 & 1, was_read = reader >> 20 == w->launch_tag;
        uint32_t by = writer & kSeveral, read_by = reader & kSeveral;
        if (written && by != me && !(atomic && by_atomic) && !w->block->acquired) {
            const Index3& g = w->launch->grid;
            std::string other = by == kSeveral ? "other blocks" : format("block (%u,%u,%u)", by % g.x, by / g.x % g.y, by / g.x / g.y);
            fail(LaunchFailed, format("race between blocks: %s a global address that %s %s in the same launch", write ? atomic ? "updates" : "writes" : "reads",
                                      other.c_str(), by_atomic ? "updates atomically" : "writes"), frame);
        }
        if (write && !atomic && was_read && read_by != me && !w->block->acquired) {
            fail(LaunchFailed, "race between blocks: writes a global address that another block reads in the same launch", frame);
        }
        if (write) {
            uint32_t block = written && by != me && atomic ? kSeveral : me;
            writer = tagOf(w, atomic && (!written || by_atomic), block);
        } else {
            reader = tagOf(w, false, was_read && read_by != me ? kSeveral : me);
        }
        __atomic_store_n(&cells[i], (uint64_t)reader << 32 | writer, __ATOMIC_RELAXED);
    }
}

void globalAccess(Worker* w, uintptr_t p, size_t n, bool write, bool atomic, void* frame) {
    const Allocation* a = findAllocation(p);
    const char* verb = write ? "write" : "read";
    if (a == nullptr || a->freed || p < a->base || p + n > a->base + a->size) {
        std::string why = whyNotDevice(p, n);
        fail(IllegalAddress, format("%s %d-byte global %s at %p, %s", a != nullptr && a->freed ? "use of freed memory:" : "out-of-bounds", (int)n, verb, (void*)p, why.c_str()), frame);
    }
    if (write) {
        if (!allWritten(p, n)) {
            markWritten(p, n);
        }
    } else if (w->options.uninitialised && !a->pinned && !allWritten(p, n)) {
        fail(LaunchFailed, format("uninitialised %d-byte global read at byte %ld of a %ld-byte allocation: nothing has written it", (int)n, (long)(p - a->base), (long)a->size), frame);
    }
    if (w->many_blocks && w->options.races && n > 1) {
        globalRaces(w, p, n, write, atomic, frame);
    }
}

// --- everything else ---

[[noreturn]] void wild(Worker* w, uintptr_t p, size_t n, bool write, void* frame) {
    const char* verb = write ? "write" : "read";
    if (p < 65536) {
        fail(IllegalAddress, format("null pointer: %d-byte %s at %p", (int)n, verb, (void*)p), frame);
    }
    if (p - (uintptr_t)w->stacks < w->stack_count * kStackBytes) {
        fail(IllegalAddress, format("%d-byte %s of another thread's local variable", (int)n, verb), frame);
    }
    uintptr_t dynamic = (uintptr_t)w->block->dynamic, end = dynamic + w->dynamic_size;
    if (p - dynamic < w->dynamic_size + 65536) {
        fail(IllegalAddress, format("out-of-bounds %d-byte %s, %ld bytes past the end of the launch's %ld bytes of dynamic shared memory", (int)n, verb,
                                    (long)(p + n - end), (long)w->dynamic_size), frame);
    }
    if (p - w->module->low < w->module->high - w->module->low) {
        fail(IllegalAddress, format("out-of-bounds %d-byte %s: outside of every __shared__ variable", (int)n, verb), frame);
    }
    fail(IllegalAddress, format("wild pointer: %d-byte %s at %p, which is no device memory", (int)n, verb, (void*)p), frame);
}

inline void access(uintptr_t p, size_t n, bool write, bool atomic, void* frame) {
    Worker* w = worker;
    if (__builtin_expect(w == nullptr || w->current == nullptr, 0)) {
        return; // a constructor of the module
    }
    Thread* t = w->current;
    w->accesses++;
    if (__builtin_expect(--t->accesses_left < 0, 0)) {
        fail(LaunchTimeout, format("endless loop: the thread made %lld accesses without meeting another one", (long long)w->options.accesses_per_thread), frame);
    }
    if (p - (uintptr_t)t->stack_low < kStackBytes) {
        return;
    }
    uintptr_t offset = p - (uintptr_t)w->block->dynamic;
    if (offset + n <= w->dynamic_size && offset < w->dynamic_size) {
        sharedAccess(w, w->block->dynamic_cells, offset, p, n, write, frame);
        return;
    }
    if (inArena(p)) {
        globalAccess(w, p, n, write, atomic, frame);
        return;
    }
    const ModuleCopy* m = w->module;
    offset = p - (uintptr_t)m->shared;
    if (offset < (uintptr_t)(m->shared_end - m->shared) && offset + n <= (uintptr_t)(m->shared_end - m->shared)) {
        sharedAccess(w, w->block->static_cells, offset, p, n, write, frame);
        return;
    }
    const std::vector<uint8_t>& arguments = w->launch->arguments;
    if (!write && (p - (uintptr_t)arguments.data() < arguments.size() || p - (uintptr_t)w->parameters < 8 * w->kernel->offsets.size())) {
        return;
    }
    if (!write && p - m->low < m->high - m->low && offset >= (uintptr_t)(m->shared_end - m->shared) + 64) {
        return; // constant tables
    }
    wild(w, p, n, write, frame);
}

} // namespace

void checkRead(Worker*, uintptr_t p, size_t n, void* frame) { access(p, n, false, false, frame); }
void checkWrite(Worker*, uintptr_t p, size_t n, void* frame) { access(p, n, true, false, frame); }

// A release tells an address what this block knows, and an acquire learns what the address was told.
void orderBlocks(Worker* w, uintptr_t p, bool acquire, bool release) {
    Block* b = w->block;
    if (w->resident.empty()) {
        b->acquired = b->acquired || acquire;
        return;
    }
    BlockClocks* known = nullptr;
    for (auto& entry : w->released) {
        if (entry.first == p) known = &entry.second;
    }
    if (known == nullptr) {
        w->released.push_back({p, BlockClocks(b->clocks.size(), 0)});
        known = &w->released.back().second;
    }
    for (size_t i = 0; i < b->clocks.size(); i++) {
        if (acquire && (*known)[i] > b->clocks[i]) b->clocks[i] = (*known)[i];
        if (release && b->clocks[i] > (*known)[i]) (*known)[i] = b->clocks[i];
    }
    if (release) {
        b->clocks[b->number]++;
    }
}

void checkAtomic(Worker* w, uintptr_t p, size_t n, bool writes, void* frame) {
    if (inArena(p)) {
        if (writes && w->options.uninitialised && findAllocation(p) != nullptr && !findAllocation(p)->freed && !allWritten(p, n)) {
            globalAccess(w, p, n, false, true, frame);
        }
        globalAccess(w, p, n, writes, true, frame);
        return;
    }
    // Atomics on shared memory do not race with one another: only bounds are looked at, and it counts as written.
    uintptr_t offset = p - (uintptr_t)w->block->dynamic, in_static = p - (uintptr_t)w->module->shared;
    bool dynamic = offset < w->dynamic_size;
    if (!dynamic && in_static >= (uintptr_t)(w->module->shared_end - w->module->shared)) {
        wild(w, p, n, writes, frame);
    }
    SharedCell* cells = dynamic ? w->block->dynamic_cells + offset / 2 : w->block->static_cells + in_static / 2;
    for (size_t i = 0; i < n / 2; i++) {
        if (cells[i].write_epoch < w->block->first_epoch && w->options.uninitialised) {
            fail(LaunchFailed, format("uninitialised atomic update of %s: no thread of the block has written it", sharedPlace(w, p).c_str()), frame);
        }
    }
}

void issueCopy(Worker* w, AsyncCopy& c, void* frame) {
    uintptr_t to = (uintptr_t)c.to;
    if (to % (uintptr_t)c.bytes != 0 || (uintptr_t)c.from % (uintptr_t)c.bytes != 0) {
        fail(MisalignedAddress, format("an asynchronous copy of %d bytes from %p to %p: both must be aligned to its size", c.bytes, (const void*)c.from, (void*)c.to), frame);
    }
    uintptr_t offset = to - (uintptr_t)w->block->dynamic, in_static = to - (uintptr_t)w->module->shared;
    if (offset >= w->dynamic_size && in_static >= (uintptr_t)(w->module->shared_end - w->module->shared)) {
        wild(w, to, (size_t)c.bytes, true, frame);
    }
    if (c.source_bytes > 0) {
        if (!inArena((uintptr_t)c.from)) {
            fail(IllegalAddress, format("an asynchronous copy from %p, which is not global memory", (const void*)c.from), frame);
        }
        access((uintptr_t)c.from, (size_t)c.source_bytes, false, false, frame);
    }
    access(to, (size_t)c.bytes, true, false, frame);
    memset(c.to, 0xFF, (size_t)c.bytes);
    SharedCell* cells = offset < w->dynamic_size ? w->block->dynamic_cells + offset / 2 : w->block->static_cells + in_static / 2;
    for (int i = 0; i < c.bytes / 2; i++) {
        cells[i].in_flight = 1;
    }
}

void landCopy(Worker* w, const AsyncCopy& c) {
    Thread* t = w->current;
    uintptr_t offset = (uintptr_t)c.to - (uintptr_t)w->block->dynamic, in_static = (uintptr_t)c.to - (uintptr_t)w->module->shared;
    SharedCell* cells = offset < w->dynamic_size ? w->block->dynamic_cells + offset / 2 : w->block->static_cells + in_static / 2;
    for (int i = 0; i < c.bytes / 2; i++) {
        cells[i].in_flight = 0;
        cells[i].write_epoch = w->block->epoch;
        cells[i].writer = t->id;
        cells[i].write_clock = t->clock;
    }
}

// --- what the compiler's instrumentation calls ---

#define ACCESS(name, size, write) EXPORT void name(void* p) { access((uintptr_t)p, size, write, false, __builtin_frame_address(0)); }
ACCESS(__tsan_read1, 1, false) ACCESS(__tsan_read2, 2, false) ACCESS(__tsan_read4, 4, false) ACCESS(__tsan_read8, 8, false) ACCESS(__tsan_read16, 16, false)
ACCESS(__tsan_write1, 1, true) ACCESS(__tsan_write2, 2, true) ACCESS(__tsan_write4, 4, true) ACCESS(__tsan_write8, 8, true) ACCESS(__tsan_write16, 16, true)
ACCESS(__tsan_unaligned_read2, 2, false) ACCESS(__tsan_unaligned_read4, 4, false) ACCESS(__tsan_unaligned_read8, 8, false) ACCESS(__tsan_unaligned_read16, 16, false)
ACCESS(__tsan_unaligned_write2, 2, true) ACCESS(__tsan_unaligned_write4, 4, true) ACCESS(__tsan_unaligned_write8, 8, true) ACCESS(__tsan_unaligned_write16, 16, true)

EXPORT void __tsan_read_range(void* p, size_t n) {
    if (n > 0) access((uintptr_t)p, n, false, false, __builtin_frame_address(0));
}
EXPORT void __tsan_write_range(void* p, size_t n) {
    if (n > 0) access((uintptr_t)p, n, true, false, __builtin_frame_address(0));
}
EXPORT void simt_yield();
#define VOLATILE(name, size, write)                                                     \
    EXPORT void name(void* p) {                                                         \
        access((uintptr_t)p, size, write, false, __builtin_frame_address(0));           \
        if (!write && worker != nullptr && worker->current != nullptr) simt_yield();    \
    }
VOLATILE(__tsan_volatile_read1, 1, false) VOLATILE(__tsan_volatile_read2, 2, false) VOLATILE(__tsan_volatile_read4, 4, false) VOLATILE(__tsan_volatile_read8, 8, false)
VOLATILE(__tsan_volatile_write1, 1, true) VOLATILE(__tsan_volatile_write2, 2, true) VOLATILE(__tsan_volatile_write4, 4, true) VOLATILE(__tsan_volatile_write8, 8, true)
EXPORT void __tsan_init() {}
EXPORT void __tsan_func_entry(void*) {}
EXPORT void __tsan_func_exit() {}

// --- -fsanitize=alignment,bounds,signed-integer-overflow,shift,integer-divide-by-zero ---

struct SourceLocation { const char* file; uint32_t line, column; };
struct TypeDescriptor { uint16_t kind, info; char name[1]; };
struct TypeMismatch { SourceLocation where; const TypeDescriptor* type; uint8_t log_alignment, kind; };
struct OutOfBounds { SourceLocation where; const TypeDescriptor *array, *index; };

EXPORT void __ubsan_handle_type_mismatch_v1(TypeMismatch* data, uintptr_t p) {
    if (worker == nullptr) return;
    if (p < 65536) {
        fail(IllegalAddress, format("null pointer: access to %s at %p", data->type->name, (void*)p), __builtin_frame_address(0));
    }
    FAIL(MisalignedAddress, "misaligned access: %s at %p needs an alignment of %d bytes", data->type->name, (void*)p, 1 << data->log_alignment);
}
EXPORT void __ubsan_handle_out_of_bounds(OutOfBounds* data, uintptr_t index) {
    if (worker == nullptr) return;
    FAIL(IllegalAddress, "index %ld is out of bounds of %s", (long)index, data->array->name);
}
#define ARITHMETIC(name, text) EXPORT void name(SourceLocation*, uintptr_t, uintptr_t) { if (worker != nullptr) FAIL(LaunchFailed, text); }
ARITHMETIC(__ubsan_handle_add_overflow, "signed integer overflow in an addition")
ARITHMETIC(__ubsan_handle_sub_overflow, "signed integer overflow in a subtraction")
ARITHMETIC(__ubsan_handle_mul_overflow, "signed integer overflow in a multiplication")
ARITHMETIC(__ubsan_handle_negate_overflow, "signed integer overflow in a negation")
ARITHMETIC(__ubsan_handle_divrem_overflow, "division by zero, or overflow in a division")
ARITHMETIC(__ubsan_handle_shift_out_of_bounds, "a shift by more bits than the number has")

#endif
