// Products of sm_90a's tensor cores: issued by the four warps of a warpgroup, done at the wait, because until then the
// operands in shared memory must not change and the sums must not be looked at.
#include "fiber.h"
#include <cmath>
#include <cstring>

EXPORT unsigned simt_vote(int kind, unsigned mask, unsigned value, const char* file, int line);

namespace {

// Dynamic shared memory begins here for kernels that look at addresses: not at a multiple of 1024, as it may not on a GPU.
constexpr uint32_t kFirstAddress = 128;

// 16 inputs of a line of an operand, as f32. The 128-byte swizzle exchanges 16-byte pieces: address bits 4..6 by 7..9.
void line(Worker* w, uint64_t descriptor, int number, float (&values)[16], void* frame) {
    if (descriptor >> 62 != 1 || (descriptor >> 32 & 0x3FFF) != 64) {
        fail(LaunchFailed, format("a wgmma's operand 0x%016llx: the host runner knows lines of 128 bytes with a swizzle of 128 bytes only", (unsigned long long)descriptor), frame);
    }
    uint32_t start = (uint32_t)(descriptor & 0x3FFF) << 4;
    for (uint32_t piece = 0; piece < 2; piece++) {
        uint32_t address = start + (uint32_t)(number / 8) * 1024 + (uint32_t)(number % 8) * 128 + piece * 16;
        address ^= (address >> 7 & 7) << 4;
        uint32_t offset = address - kFirstAddress;
        if (address < kFirstAddress || offset + 16 > w->dynamic_size) {
            fail(IllegalAddress, format("a wgmma's operand lies at %u, outside of the block's %zu bytes of dynamic shared memory", offset, w->dynamic_size), frame);
        }
        const uint8_t* p = w->block->dynamic + offset;
        if (kChecked) {
            checkRead(w, (uintptr_t)p, 16, frame);
        }
        for (int i = 0; i < 8; i++) {
            uint16_t bits;
            memcpy(&bits, p + 2 * i, 2);
            uint32_t word = (uint32_t)bits << 16;
            memcpy(&values[piece * 8 + (uint32_t)i], &word, 4);
        }
    }
}

// The running thread's 64 sums of a product, 16 inputs in rising order.
void multiply(Worker* w, const Product& product, float* d, void* frame) {
    uint32_t thread = w->current->id % 128;
    int row = (int)(thread / 32 * 16 + thread % 32 / 4), column = (int)(thread % 4) * 2;
    float a[2][16], b[16];
    line(w, product.a, row, a[0], frame);
    line(w, product.a, row + 8, a[1], frame);
    for (int n = 0; n < 32; n++) {
        line(w, product.b, n / 2 * 8 + column + n % 2, b, frame);
        for (int half = 0; half < 2; half++) {
            float& sum = d[n / 2 * 4 + half * 2 + n % 2];
            for (int k = 0; k < 16; k++) {
                sum = fmaf(a[half][k], b[k], sum);
            }
        }
    }
    if (thread % 32 == 0) {
        w->mma++;
    }
}

} // namespace

EXPORT unsigned simt_shared_address(const void* p) {
    uintptr_t offset = (uintptr_t)p - (uintptr_t)worker->block->dynamic;
    if (offset > worker->dynamic_size) {
        FAIL(IllegalAddress, "%p is not in dynamic shared memory, and the host runner knows no other shared addresses", p);
    }
    return kFirstAddress + (uint32_t)offset;
}

EXPORT void simt_wgmma(float* d, unsigned long long a, unsigned long long b, const char* file, int line) {
    simt_vote(1, 0xFFFFFFFFu, 0, file, line); // sync.aligned: all lanes come, and nothing is ordered by it
    Thread* t = worker->current;
    Sums* sums = nullptr;
    for (Sums& known : t->sums) {
        sums = known.registers == d ? &known : sums;
    }
    if (sums == nullptr) {
        t->sums.push_back({d, 0, {}});
        sums = &t->sums.back();
        memcpy(sums->values, d, sizeof sums->values);
        memset(d, 0xFF, sizeof sums->values); // NaN: nobody looks at them before the wait
    }
    sums->pending++;
    t->products.push_back({d, a, b, t->open_products});
}

EXPORT void simt_wgmma_commit() { worker->current->open_products++; }

EXPORT void simt_wgmma_wait(int pending, const char* file, int line) {
    simt_vote(1, 0xFFFFFFFFu, 0, file, line);
    void* frame = __builtin_frame_address(0);
    Worker* w = worker;
    Thread* t = w->current;
    int complete = t->open_products - pending; // groups below this number are done
    size_t kept = 0;
    for (size_t i = 0; i < t->products.size(); i++) {
        Product product = t->products[i];
        if (product.group >= complete) {
            t->products[kept++] = product;
            continue;
        }
        for (size_t j = 0; j < t->sums.size(); j++) {
            Sums& sums = t->sums[j];
            if (sums.registers == product.d) {
                multiply(w, product, sums.values, frame);
                sums.pending--;
            }
        }
    }
    t->products.resize(kept);
    for (size_t j = 0; j < t->sums.size();) {
        if (t->sums[j].pending == 0) {
            memcpy(t->sums[j].registers, t->sums[j].values, sizeof t->sums[j].values);
            t->sums[j] = t->sums.back();
            t->sums.pop_back();
        } else {
            j++;
        }
    }
}
