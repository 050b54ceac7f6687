// What lanes do together: the last one to arrive does the work for all. And what a thread does beside plain loads and
// stores: asynchronous copies, atomics, fences.
#include "fiber.h"
#include <algorithm>
#include <cmath>
#include <cstring>

namespace {

enum Operation { SyncWarp = 1, Shuffle = 16, Vote = 32, Reduce = 64, Mma = 80, LdMatrix = 96 };

const char* nameOf(int operation) {
    if (operation == SyncWarp) return "__syncwarp";
    if (operation >= LdMatrix) return "ldmatrix";
    if (operation >= Mma) return "mma";
    if (operation >= Reduce) return "warp_sum or warp_max";
    if (operation >= Vote) return "a warp vote";
    return "a shuffle";
}

// Waits until all lanes of the mask are here; `work` is done once, by the last of them, before any goes on.
template <class Work>
uint64_t meet(int operation, uint32_t mask, const Meeting::Lane& own, const char* file, int line, void* frame, Work work) {
    Worker* w = worker;
    Thread* t = w->current;
    Warp* warp = t->warp;
    uint32_t bit = 1u << t->view.lane;
    if ((mask & bit) == 0) {
        fail(LaunchFailed, format("lane %u calls %s with mask 0x%08x, in which it is not", t->view.lane, nameOf(operation), mask), frame);
    }
    if (uint32_t missing = mask & ~warp->present) {
        fail(LaunchFailed, format("%s with mask 0x%08x names lane %d, which the block does not have", nameOf(operation), mask, __builtin_ctz(missing)), frame);
    }
    if (uint32_t gone = mask & warp->exited) {
        fail(LaunchFailed, format("%s with mask 0x%08x names lane %d, which has exited", nameOf(operation), mask, __builtin_ctz(gone)), frame);
    }
    Meeting* meeting = nullptr;
    for (auto& m : warp->meetings) {
        if (m->arrived == 0) {
            meeting = meeting == nullptr ? m.get() : meeting;
        } else if (m->mask == mask) {
            meeting = m.get();
            break;
        } else if (m->mask & bit) {
            Thread* other = warp->lanes[__builtin_ctz(m->arrived)];
            fail(LaunchFailed, format("lane %u calls %s with mask 0x%08x at %s:%d, but lane %u waits for it in %s with mask 0x%08x at %s:%d",
                                      t->view.lane, nameOf(operation), mask, file, line, other->view.lane, other->wait_what, m->mask,
                                      other->wait_file, other->wait_line), frame);
        }
    }
    if (meeting == nullptr) {
        warp->meetings.push_back(std::make_unique<Meeting>());
        meeting = warp->meetings.back().get();
    }
    if (meeting->arrived == 0) {
        meeting->mask = mask;
        meeting->operation = operation;
    } else if (meeting->operation != operation) {
        Thread* other = warp->lanes[__builtin_ctz(meeting->arrived)];
        fail(LaunchFailed, format("lane %u calls %s at %s:%d, but lane %u waits for it in %s at %s:%d", t->view.lane, nameOf(operation), file,
                                  line, other->view.lane, other->wait_what, other->wait_file, other->wait_line), frame);
    }
    meeting->lanes[t->view.lane] = own;
    meeting->arrived |= bit;
    if (meeting->arrived != mask) {
        t->wait_file = file;
        t->wait_line = line;
        t->wait_what = nameOf(operation);
        suspend(w);
        t->wait_file = nullptr;
        return t->result;
    }
    progress(w);
    work(w, warp, *meeting);
    meeting->arrived = 0;
    for (uint32_t rest = mask & ~bit; rest != 0; rest &= rest - 1) {
        makeReady(warp->lanes[__builtin_ctz(rest)]);
    }
    return t->result;
}

float toFloat(bool bf16, uint16_t bits) {
    if (bf16) {
        uint32_t word = (uint32_t)bits << 16;
        float value;
        memcpy(&value, &word, 4);
        return value;
    }
    _Float16 half;
    memcpy(&half, &bits, 2);
    return (float)half;
}

} // namespace

EXPORT void simt_syncwarp(unsigned mask, const char* file, int line) {
    meet(SyncWarp, mask, {}, file, line, __builtin_frame_address(0), [](Worker*, Warp* warp, Meeting& m) {
        if (!kChecked) {
            return;
        }
        // Each lane now knows what any of them knew.
        Thread* first = warp->lanes[__builtin_ctz(m.mask)];
        size_t count = first->owner->threads.size();
        static thread_local std::vector<uint16_t> joined;
        joined.assign(count, 0);
        for (uint32_t rest = m.mask; rest != 0; rest &= rest - 1) {
            Thread* t = warp->lanes[__builtin_ctz(rest)];
            uint16_t* clocks = clocksOf(t);
            for (size_t i = 0; i < count; i++) {
                joined[i] = std::max(joined[i], clocks[i]);
            }
            joined[t->id] = std::max(joined[t->id], t->clock);
        }
        for (uint32_t rest = m.mask; rest != 0; rest &= rest - 1) {
            Thread* t = warp->lanes[__builtin_ctz(rest)];
            memcpy(clocksOf(t), joined.data(), count * sizeof(uint16_t));
            t->clock++;
        }
    });
}

EXPORT unsigned long long simt_shuffle(int kind, unsigned mask, unsigned long long value, int operand, int width, const char* file, int line) {
    void* frame = __builtin_frame_address(0);
    return meet(Shuffle + kind, mask, {value, operand, width, nullptr, nullptr}, file, line, frame, [=](Worker*, Warp* warp, Meeting& m) {
        for (uint32_t rest = m.mask; rest != 0; rest &= rest - 1) {
            int lane = __builtin_ctz(rest);
            const Meeting::Lane& own = m.lanes[lane];
            int first = lane & ~(own.width - 1), source = lane;
            switch (kind) {
            case 0: source = first + (own.operand & (own.width - 1)); break;
            case 1: source = lane - own.operand < first ? lane : lane - own.operand; break;
            case 2: source = lane + own.operand >= first + own.width ? lane : lane + own.operand; break;
            default: source = lane ^ own.operand; if (source >= first + own.width) source = lane; break;
            }
            if ((m.mask >> source & 1) == 0) {
                fail(LaunchFailed, format("lane %d's shuffle reads lane %d, which is not in the mask 0x%08x", lane, source, m.mask), frame);
            }
            warp->lanes[lane]->result = m.lanes[source].value;
        }
    });
}

EXPORT unsigned simt_vote(int kind, unsigned mask, unsigned value, const char* file, int line) {
    return (unsigned)meet(Vote + kind, mask, {value, 0, 0, nullptr, nullptr}, file, line, __builtin_frame_address(0), [kind](Worker*, Warp* warp, Meeting& m) {
        uint32_t first = (uint32_t)m.lanes[__builtin_ctz(m.mask)].value, result = kind <= 2 ? 0 : first;
        if (kind == 2) {
            result = 1;
        }
        for (uint32_t rest = m.mask; rest != 0; rest &= rest - 1) {
            int lane = __builtin_ctz(rest);
            uint32_t v = (uint32_t)m.lanes[lane].value;
            bool begin = rest == m.mask;
            switch (kind) {
            case 0: result |= v << lane; break;
            case 1: result |= v; break;
            case 2: result &= v; break;
            case 4: result = begin ? v : result + v; break;
            case 5: result = (uint32_t)std::min((int32_t)result, (int32_t)v); break;
            case 6: result = (uint32_t)std::max((int32_t)result, (int32_t)v); break;
            case 7: result = std::min(result, v); break;
            case 8: result = std::max(result, v); break;
            case 9: result &= v; break;
            case 10: result |= v; break;
            case 11: result = begin ? v : result ^ v; break;
            default: break;
            }
        }
        for (uint32_t rest = m.mask; rest != 0; rest &= rest - 1) {
            int lane = __builtin_ctz(rest);
            if (kind == 3) { // match: the lanes with this lane's value
                result = 0;
                for (uint32_t others = m.mask; others != 0; others &= others - 1) {
                    int other = __builtin_ctz(others);
                    result |= (uint32_t)(m.lanes[other].value == m.lanes[lane].value) << other;
                }
            }
            warp->lanes[lane]->result = result;
        }
    });
}

// The butterfly of warp.cuh on all lanes at once.
EXPORT float simt_reduce_f32(int maximum, float value, int group, const char* file, int line) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    uint64_t result = meet(Reduce + maximum, 0xFFFFFFFFu, {bits, group, 0, nullptr, nullptr}, file, line, __builtin_frame_address(0), [maximum](Worker*, Warp* warp, Meeting& m) {
        float v[32], next[32];
        for (int i = 0; i < 32; i++) {
            uint32_t word = (uint32_t)m.lanes[i].value;
            memcpy(&v[i], &word, 4);
        }
        for (int distance = m.lanes[0].operand / 2; distance > 0; distance /= 2) {
            for (int i = 0; i < 32; i++) {
                next[i] = maximum ? fmaxf(v[i], v[i ^ distance]) : v[i] + v[i ^ distance];
            }
            memcpy(v, next, sizeof v);
        }
        for (int i = 0; i < 32; i++) {
            uint32_t word;
            memcpy(&word, &v[i], 4);
            warp->lanes[i]->result = word;
        }
    });
    bits = (uint32_t)result;
    memcpy(&value, &bits, 4);
    return value;
}

// mma.m16n8k16: fragments as in the PTX ISA; f32 products are added in order of k.
EXPORT void simt_mma(int bf16, float* d, const unsigned* a, unsigned b0, unsigned b1, const char* file, int line) {
    uint64_t b = (uint64_t)b1 << 32 | b0;
    meet(Mma + bf16, 0xFFFFFFFFu, {b, 0, 0, a, d}, file, line, __builtin_frame_address(0), [bf16](Worker* w, Warp*, Meeting& m) {
        float A[16][16], B[16][8], D[16][8];
        for (int lane = 0; lane < 32; lane++) {
            int g = lane / 4, c = 2 * (lane % 4);
            const uint32_t* fa = (const uint32_t*)m.lanes[lane].pointer;
            uint32_t fb[2] = {(uint32_t)m.lanes[lane].value, (uint32_t)(m.lanes[lane].value >> 32)};
            const float* fd = (const float*)m.lanes[lane].output;
            for (int half = 0; half < 2; half++) {
                int shift = 16 * half;
                A[g][c + half] = toFloat(bf16, (uint16_t)(fa[0] >> shift));
                A[g + 8][c + half] = toFloat(bf16, (uint16_t)(fa[1] >> shift));
                A[g][c + 8 + half] = toFloat(bf16, (uint16_t)(fa[2] >> shift));
                A[g + 8][c + 8 + half] = toFloat(bf16, (uint16_t)(fa[3] >> shift));
                B[c + half][g] = toFloat(bf16, (uint16_t)(fb[0] >> shift));
                B[c + 8 + half][g] = toFloat(bf16, (uint16_t)(fb[1] >> shift));
                D[g][c + half] = fd[half];
                D[g + 8][c + half] = fd[2 + half];
            }
        }
        for (int i = 0; i < 16; i++) {
            for (int k = 0; k < 16; k++) {
                for (int j = 0; j < 8; j++) {
                    D[i][j] = __builtin_fmaf(A[i][k], B[k][j], D[i][j]);
                }
            }
        }
        for (int lane = 0; lane < 32; lane++) {
            int g = lane / 4, c = 2 * (lane % 4);
            float* fd = (float*)m.lanes[lane].output;
            fd[0] = D[g][c];
            fd[1] = D[g][c + 1];
            fd[2] = D[g + 8][c];
            fd[3] = D[g + 8][c + 1];
        }
        w->mma++;
    });
}

EXPORT void simt_ldmatrix(int matrices, int transposed, unsigned* r, const void* row, const char* file, int line) {
    void* frame = __builtin_frame_address(0);
    Worker* w = worker;
    if (kChecked && (int)w->current->view.lane < 8 * matrices) {
        uintptr_t p = (uintptr_t)row;
        const ModuleCopy* module = w->module;
        bool shared = p - (uintptr_t)w->block->dynamic < w->dynamic_size || p - (uintptr_t)module->shared < (uintptr_t)(module->shared_end - module->shared);
        if (!shared) {
            fail(IllegalAddress, format("ldmatrix: the row's address %p is not in shared memory", row), frame);
        }
        if (p % 16 != 0) {
            fail(MisalignedAddress, format("ldmatrix: the row's address is %d bytes off a multiple of 16", (int)(p % 16)), frame);
        }
        checkRead(w, p, 16, frame);
    }
    meet(LdMatrix + 2 * matrices + transposed, 0xFFFFFFFFu, {0, 0, 0, row, r}, file, line, frame, [=](Worker*, Warp*, Meeting& m) {
        for (int i = 0; i < matrices; i++) {
            uint16_t matrix[8][8];
            for (int j = 0; j < 8; j++) {
                memcpy(matrix[j], m.lanes[8 * i + j].pointer, 16);
            }
            for (int lane = 0; lane < 32; lane++) {
                int g = lane / 4, c = 2 * (lane % 4);
                uint32_t low = transposed ? matrix[c][g] : matrix[g][c], high = transposed ? matrix[c + 1][g] : matrix[g][c + 1];
                ((uint32_t*)m.lanes[lane].output)[i] = low | high << 16;
            }
        }
    });
}

// --- asynchronous copies ---

EXPORT void simt_cp_async(void* shared, const void* global, int bytes, int source_bytes) {
    Worker* w = worker;
    AsyncCopy copy{(uint8_t*)shared, (const uint8_t*)global, bytes, source_bytes, w->current->open_group};
    if (kChecked) {
        issueCopy(w, copy, __builtin_frame_address(0));
    }
    w->current->copies.push_back(copy);
    w->async_copies++;
}

EXPORT void simt_cp_commit() { worker->current->open_group++; }

EXPORT void simt_cp_wait(int pending) {
    Worker* w = worker;
    Thread* t = w->current;
    int complete = t->open_group - pending; // groups below this number have arrived
    size_t kept = 0;
    for (size_t i = 0; i < t->copies.size(); i++) {
        const AsyncCopy& c = t->copies[i];
        if (c.group >= complete) {
            t->copies[kept++] = c;
            continue;
        }
        memcpy(c.to, c.from, (size_t)c.source_bytes);
        memset(c.to + c.source_bytes, 0, (size_t)(c.bytes - c.source_bytes));
        if (kChecked) {
            landCopy(w, c);
        }
    }
    t->copies.resize(kept);
}

// --- atomics ---

EXPORT void simt_yield();

namespace {

template <class T>
T atomicOperation(int op, T* p, T value, T compare) {
    switch (op) {
    case 0: return __atomic_fetch_add(p, value, __ATOMIC_SEQ_CST);
    case 6: return __atomic_fetch_and(p, value, __ATOMIC_SEQ_CST);
    case 7: return __atomic_fetch_or(p, value, __ATOMIC_SEQ_CST);
    case 8: return __atomic_fetch_xor(p, value, __ATOMIC_SEQ_CST);
    case 9: return __atomic_exchange_n(p, value, __ATOMIC_SEQ_CST);
    case 10:
        __atomic_compare_exchange_n(p, &compare, value, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
        return compare;
    case 11: return __atomic_load_n(p, __ATOMIC_SEQ_CST);
    case 12: __atomic_store_n(p, value, __ATOMIC_SEQ_CST); return value;
    default: break;
    }
    typedef typename std::make_signed<T>::type S;
    T old = __atomic_load_n(p, __ATOMIC_SEQ_CST), next;
    do {
        switch (op) {
        case 1: {
            float a, b;
            uint32_t x = (uint32_t)old, y = (uint32_t)value;
            memcpy(&a, &x, 4);
            memcpy(&b, &y, 4);
            a += b;
            memcpy(&x, &a, 4);
            next = x;
            break;
        }
        case 2: next = (T)std::min((S)old, (S)value); break;
        case 3: next = (T)std::max((S)old, (S)value); break;
        case 4: next = std::min(old, value); break;
        default: next = std::max(old, value); break;
        }
    } while (!__atomic_compare_exchange_n(p, &old, next, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
    return old;
}

template <class T>
T atomicChecked(int op, int order, void* p, T value, T compare, void* frame) {
    Worker* w = worker;
    if (kChecked) {
        if ((uintptr_t)p % sizeof(T) != 0) {
            fail(MisalignedAddress, format("an atomic of %d bytes at an address that is %d bytes off", (int)sizeof(T), (int)((uintptr_t)p % sizeof(T))), frame);
        }
        checkAtomic(w, (uintptr_t)p, sizeof(T), op != 11, frame);
    }
    if (order != 0) {
        orderBlocks(w, (uintptr_t)p, order & 1, order & 2);
    }
    T old = atomicOperation(op, (T*)p, value, compare);
    // Who looks again and again at a number that does not change lets the others run.
    bool changes = op == 10 ? old == compare : op != 11 && !(op == 0 && value == 0);
    if (changes) {
        progress(w);
    } else if (op != 11) {
        simt_yield();
    }
    return old;
}

} // namespace

EXPORT unsigned simt_atomic32(int op, int order, void* p, unsigned value, unsigned compare) {
    return atomicChecked<uint32_t>(op, order, p, value, compare, __builtin_frame_address(0));
}
EXPORT unsigned long long simt_atomic64(int op, int order, void* p, unsigned long long value, unsigned long long compare) {
    return atomicChecked<uint64_t>(op, order, p, value, compare, __builtin_frame_address(0));
}

EXPORT void simt_fence() {
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    worker->block->acquired = true;
}

EXPORT void simt_prefetch(const void*) {}
