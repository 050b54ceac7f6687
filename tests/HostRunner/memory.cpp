// Device memory: allocations in one reserved range of addresses, so that a pointer tells whether it is one of ours. Each
// starts on its own page and has its exact extent; freed ranges are not used again before the range of addresses is spent.
#include "engine.h"
#include <cstring>
#include <deque>
#include <mutex>
#include <sys/mman.h>

uintptr_t arenaBase = 0;
size_t arenaSize = 0;

namespace {

std::mutex lock;
std::deque<Allocation> allocations; // by number; the page table has number + 1
uint32_t* pageTable = nullptr;
uint8_t* writtenBits = nullptr;
uint64_t* cells = nullptr;
uintptr_t nextFree = 0;
size_t inUse = 0, inUsePinned = 0;
uint64_t serial = 0;
struct Range { uintptr_t base; size_t bytes; };
std::deque<Range> freedRanges; // oldest first
constexpr size_t kDeviceBytes = (size_t)8 << 30;

void* reserve(size_t bytes, int protection) {
    void* p = mmap(nullptr, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? nullptr : p;
}

size_t pagesOf(size_t bytes) { return (bytes + ((size_t)1 << kPageBits) - 1) >> kPageBits; }

} // namespace

bool arenaInit() {
    std::lock_guard<std::mutex> guard(lock);
    if (arenaBase != 0) {
        return true;
    }
    for (int bits = 38; bits >= 32; bits--) { // 256 GiB, or what the machine lets us have
        size_t size = (size_t)1 << bits;
        void* arena = reserve(size, PROT_NONE);
        void* table = arena == nullptr ? nullptr : reserve((size >> kPageBits) * sizeof(uint32_t), PROT_READ | PROT_WRITE);
        void* written = table == nullptr ? nullptr : kChecked ? reserve(size / 8, PROT_READ | PROT_WRITE) : table;
        void* races = written == nullptr ? nullptr : kChecked ? reserve(size * 4, PROT_READ | PROT_WRITE) : table;
        if (races == nullptr) {
            if (written != nullptr && kChecked) munmap(written, size / 8);
            if (table != nullptr) munmap(table, (size >> kPageBits) * sizeof(uint32_t));
            if (arena != nullptr) munmap(arena, size);
            continue;
        }
        arenaSize = size;
        arenaBase = nextFree = (uintptr_t)arena;
        pageTable = (uint32_t*)table;
        writtenBits = (uint8_t*)written;
        cells = (uint64_t*)races;
        return true;
    }
    return false;
}

Result deviceAlloc(uintptr_t* p, size_t bytes, bool pinned, void* owner) {
    std::lock_guard<std::mutex> guard(lock);
    if (bytes == 0) {
        setError("an allocation of 0 bytes");
        return InvalidValue;
    }
    size_t pages = pagesOf(bytes), room = pages << kPageBits;
    if (!pinned && (bytes > kDeviceBytes || inUse + room > kDeviceBytes)) {
        setError(format("out of device memory: %zu bytes asked for, %zu of %zu in use", bytes, inUse, kDeviceBytes));
        return OutOfMemory;
    }
    uintptr_t base = 0;
    if (nextFree + room <= arenaBase + arenaSize) {
        base = nextFree;
        nextFree += room;
    } else {
        for (size_t i = 0; i < freedRanges.size() && base == 0; i++) {
            if (freedRanges[i].bytes >= room) {
                base = freedRanges[i].base;
                if (freedRanges[i].bytes == room) {
                    freedRanges.erase(freedRanges.begin() + (long)i);
                } else {
                    freedRanges[i] = {base + room, freedRanges[i].bytes - room};
                }
            }
        }
    }
    if (base == 0 || mprotect((void*)base, room, PROT_READ | PROT_WRITE) != 0) {
        setError("out of addresses for device memory");
        return OutOfMemory;
    }
    if (bytes <= (size_t)64 << 20) {
        memset((void*)base, 0xFF, bytes); // a NaN in f32, f16 and bf16
    }
    uint32_t number = (uint32_t)allocations.size();
    allocations.push_back({base, bytes, false, pinned, ++serial, owner});
    for (size_t i = 0; i < pages; i++) {
        pageTable[((base - arenaBase) >> kPageBits) + i] = number + 1;
    }
    if (kChecked && base + room != nextFree) {
        markUnwritten(base, room); // used before
    }
    (pinned ? inUsePinned : inUse) += room;
    *p = base;
    return Success;
}

namespace {

void release(Allocation& a) {
    size_t room = pagesOf(a.size) << kPageBits;
    a.freed = true;
    (a.pinned ? inUsePinned : inUse) -= room;
    madvise((void*)a.base, room, MADV_DONTNEED);
    mprotect((void*)a.base, room, PROT_NONE);
    if (kChecked) {
        size_t first = (a.base - arenaBase) * 4, bytes = room * 4;
        madvise((uint8_t*)cells + first, bytes, MADV_DONTNEED);
    }
    freedRanges.push_back({a.base, room});
}

} // namespace

Result deviceFree(uintptr_t p, bool pinned) {
    std::lock_guard<std::mutex> guard(lock);
    auto* a = const_cast<Allocation*>(findAllocation(p));
    if (a == nullptr || a->base != p || a->freed || a->pinned != pinned) {
        setError(a != nullptr && a->freed ? format("%p was freed before", (void*)p)
                                          : format("%p is not an allocation's address", (void*)p));
        return InvalidValue;
    }
    release(*a);
    return Success;
}

void freeAllOf(void* owner) {
    std::lock_guard<std::mutex> guard(lock);
    for (Allocation& a : allocations) {
        if (a.owner == owner && !a.freed) {
            release(a);
        }
    }
}

size_t deviceBytesInUse() { return inUse; }
size_t pinnedBytesInUse() { return inUsePinned; }

const Allocation* findAllocation(uintptr_t p) {
    if (!inArena(p)) {
        return nullptr;
    }
    uint32_t number = pageTable[(p - arenaBase) >> kPageBits];
    return number == 0 ? nullptr : &allocations[number - 1];
}

std::string whyNotDevice(uintptr_t p, size_t n) {
    if (p < 65536) {
        return "a null pointer";
    }
    if (!inArena(p)) {
        return "not device memory";
    }
    const Allocation* a = findAllocation(p);
    if (a == nullptr && p > arenaBase) { // just below or above something?
        uintptr_t page = (p >> kPageBits) << kPageBits;
        a = findAllocation(page - 1);
        if (a == nullptr) {
            return "which was never allocated";
        }
    }
    if (a == nullptr) {
        return "which was never allocated";
    }
    if (a->freed) {
        return format("byte %ld of a %zu-byte allocation that was freed", (long)(p - a->base), a->size);
    }
    if (p + n > a->base + a->size) {
        return format("%ld bytes past the end of a %zu-byte allocation", (long)(p + n - a->base - a->size), a->size);
    }
    return "";
}

// --- what was written ---

void markWritten(uintptr_t p, size_t n) {
    uintptr_t offset = p - arenaBase, end = offset + n;
    while (offset < end && (offset % 8 != 0 || end - offset < 8)) {
        // Neighbours may be written by another host thread.
        __atomic_fetch_or(&writtenBits[offset / 8], (uint8_t)(1u << (offset % 8)), __ATOMIC_RELAXED);
        offset++;
    }
    if (end > offset) {
        memset(&writtenBits[offset / 8], 0xFF, (end - offset) / 8);
        offset += (end - offset) / 8 * 8;
        while (offset < end) {
            __atomic_fetch_or(&writtenBits[offset / 8], (uint8_t)(1u << (offset % 8)), __ATOMIC_RELAXED);
            offset++;
        }
    }
}

void markUnwritten(uintptr_t p, size_t n) {
    uintptr_t offset = p - arenaBase, end = offset + n;
    if (offset % 8 == 0 && n >= 4096 && n % 8 == 0) {
        memset(&writtenBits[offset / 8], 0, n / 8);
        return;
    }
    for (; offset < end; offset++) {
        __atomic_fetch_and(&writtenBits[offset / 8], (uint8_t)~(1u << (offset % 8)), __ATOMIC_RELAXED);
    }
}

bool allWritten(uintptr_t p, size_t n) {
    uintptr_t offset = p - arenaBase;
    uint32_t word;
    if (n <= 16) {
        memcpy(&word, &writtenBits[offset / 8], 4);
        uint32_t mask = ((uint32_t)1 << n) - 1;
        return (word >> (offset % 8) & mask) == mask;
    }
    for (size_t i = 0; i < n; i++) {
        if ((writtenBits[(offset + i) / 8] >> ((offset + i) % 8) & 1) == 0) {
            return false;
        }
    }
    return true;
}

void copyWritten(uintptr_t to, uintptr_t from, size_t n) {
    if ((to - arenaBase) % 8 == 0 && (from - arenaBase) % 8 == 0 && n % 8 == 0) {
        memmove(&writtenBits[(to - arenaBase) / 8], &writtenBits[(from - arenaBase) / 8], n / 8);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        uintptr_t source = from - arenaBase + i;
        bool written = writtenBits[source / 8] >> (source % 8) & 1;
        written ? markWritten(to + i, 1) : markUnwritten(to + i, 1);
    }
}

uint64_t* raceCells(uintptr_t p) { return cells + (p - arenaBase) / 2; }

void clearRaceCells() {
    if (kChecked) {
        std::lock_guard<std::mutex> guard(lock);
        madvise(cells, (nextFree - arenaBase) * 4, MADV_DONTNEED);
    }
}
