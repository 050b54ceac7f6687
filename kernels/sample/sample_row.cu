// sample_row: tokens[r] = the next token of row r, as SampleRow defines it: repetition penalty (Keskar et al. 2019),
//             temperature, top-k, top-p (Holtzman et al. 2020), min-p, then one draw with Philox4x32-10 (Salmon et al. 2011)
//
//   tokens : (rows) i32; -1 if a logit is NaN or +inf, or all are -inf
//   logits : (rows, vocabulary) f32, penalties are applied in place; vocabulary up to 2^19
//   parameters : (rows) SampleParameters      history : i32, the distinct tokens that rows with a penalty have seen
//   launch : one block of THREADS threads per row
//   moves  : 4 * vocabulary bytes per row and pass, from L2: one pass for a greedy row, two more for a draw, six more for
//            each of top-k and top-p
//
// The draw is a running sum in order of ids, so nothing is sorted. A filter is a cut: the ids with a logit above an edge, and
// of those equal to it the ids up to a last one. The edge's bits, made to sort as integers, are found 8 at a time, largest
// first, with a histogram of 256 buckets per pass. Weights exp((x - max) / T) are whole numbers of 2^-38 of the largest one,
// from additions and multiplications that are rounded one by one: the CPU backend computes the same whole numbers, and sums of
// whole numbers do not depend on an order.
#include "sample/philox.cuh"
#include "shared/warp.cuh"

// SampleRow (src/KvCuda/Tensors).
struct SampleParameters {
    float temperature;
    i32   top_k;
    float top_p, min_p, repetition_penalty;
    i32   history_start, history_count;
    u32   seed_low, seed_high;
    i32   step;
};

struct SampleRowArgs {
    i32*                    tokens;      // (rows)
    float*                  logits;      // (rows, vocabulary)
    const SampleParameters* parameters;  // (rows)
    const i32*              history;
    i32                     vocabulary;
    i32                     unused;
};

constexpr i32 BUCKETS = 256, WARPS = THREADS / 32;
constexpr i32 UNIT_BITS = 38;
constexpr float MOST = 3.40282347e38f;  // the largest f32

// A weight has 39 bits and is added up in three parts of 13: native 32-bit additions, where 64 bits would be a loop of
// compare-and-swap. A part's sum stays below 2^32 for 2^19 ids.
constexpr i32 PART_BITS = 13, PARTS = 3;

// Sorts as logits do.
__device__ __forceinline__ u32 key_of(float x) {
    const u32 bits = __float_as_uint(x + 0.0f);  // -0 sorts with 0
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

// The ids with a key above `key`, and of those equal to it the ones up to `last`.
struct Cut {
    u32 key;
    i32 last;
};

struct Row {
    const float* logits;
    i32          count;
    float        largest, inverse;  // inverse: 1 / temperature

    __device__ __forceinline__ bool keeps(const Cut& cut, i32 token) const {
        const u32 key = key_of(logits[token]);
        return key > cut.key || (key == cut.key && token <= cut.last);
    }

    // exp((x - largest) / temperature) in units: e^x = 2^n e^r, x = n ln 2 + r (Cody and Waite 1980), e^r by the polynomial of
    // expf in Moshier's Cephes.
    // note: __fmul_rn and __fadd_rn are never fused; SampleWeights.cs does the same.
    __device__ __forceinline__ u64 weight(i32 token) const {
        const float x = fmaxf(__fmul_rn(__fadd_rn(logits[token], -largest), inverse), -28.0f);
        const float half = 12582912.0f;  // 1.5 * 2^23: adding it leaves no bits behind the point
        const float shifted = __fadd_rn(__fmul_rn(x, 1.44269504f), half);
        const i32 whole = __float_as_int(shifted) - __float_as_int(half);
        const float n = __fadd_rn(shifted, -half);
        const float r = __fadd_rn(__fadd_rn(x, -__fmul_rn(n, 0.693359375f)), __fmul_rn(n, 2.12194440e-4f));
        float p = __fadd_rn(__fmul_rn(1.9875691500e-4f, r), 1.3981999507e-3f);
        p = __fadd_rn(__fmul_rn(p, r), 8.3334519073e-3f);
        p = __fadd_rn(__fmul_rn(p, r), 4.1665795894e-2f);
        p = __fadd_rn(__fmul_rn(p, r), 1.6666665459e-1f);
        p = __fadd_rn(__fmul_rn(p, r), 5.0000001201e-1f);
        const float e = __fadd_rn(__fadd_rn(__fmul_rn(p, __fmul_rn(r, r)), r), 1.0f);
        return __float2ull_rn(__int_as_float(__float_as_int(e) + (whole + UNIT_BITS) * (1 << 23)));
    }
};

struct Shared {
    u32   parts[PARTS][BUCKETS];
    u32   counts[BUCKETS];
    u64   sums[WARPS];    // by warp, of its stretch of ids
    float largest[WARPS];
    i32   best[WARPS];
    u64   above;          // what lies above the prefix: weight, or ids
    u32   prefix;
    i32   found;
};

// The ids [start, end) of a warp: a stretch of the row, so that stretches are in order of ids.
__device__ __forceinline__ void stretch(i32 count, i32& start, i32& end) {
    const i32 warp = threadIdx.x / 32;
    start = (i32)((i64)count * warp / WARPS);
    end = (i32)((i64)count * (warp + 1) / WARPS);
}

// Sum over a warp, to every lane.
__device__ __forceinline__ u64 warp_total(u64 v) {
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2) {
        v += __shfl_xor_sync(FULL_WARP, v, distance);
    }
    return v;
}

// The first id at which the running sum of amount(id), in order of ids, exceeds `bound(total)`; every thread gets it.
template <class Amount, class Bound>
__device__ __forceinline__ i32 first_exceeding(Shared& shared, i32 count, Amount amount, Bound bound) {
    const i32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    i32 start, end;
    stretch(count, start, end);
    u64 mine = 0;
    for (i32 token = start + lane; token < end; token += 32) {
        mine += amount(token);
    }
    mine = warp_total(mine);
    if (lane == 0) {
        shared.sums[warp] = mine;
    }
    __syncthreads();
    u64 total = 0, before = 0;
    for (i32 w = 0; w < WARPS; w++) {
        before += w < warp ? shared.sums[w] : 0;
        total += shared.sums[w];
    }
    const u64 limit = bound(total);
    // One warp has it in its stretch and walks there.
    if (before <= limit && limit < before + mine) {
        u64 running = before;
        for (i32 from = start; from < end; from += 32) {
            const i32 token = from + lane;
            u64 sum = token < end ? amount(token) : 0;
#pragma unroll
            for (int distance = 1; distance < 32; distance *= 2) {
                const u64 lower = __shfl_up_sync(FULL_WARP, sum, distance);
                sum += lane >= distance ? lower : 0;
            }
            const u32 past = __ballot_sync(FULL_WARP, running + sum > limit);
            if (past != 0) {
                if (lane == 0) {
                    shared.found = from + __ffs((i32)past) - 1;
                }
                break;
            }
            running += __shfl_sync(FULL_WARP, sum, 31);
        }
    }
    __syncthreads();
    const i32 found = shared.found;
    __syncthreads();
    return found;
}

// The amount of one bucket: ids, or weight.
__device__ __forceinline__ u64 amount_of(const Shared& shared, i32 bucket, bool by_count) {
    if (by_count) {
        return shared.counts[bucket];
    }
    u64 weight = 0;
    for (i32 part = 0; part < PARTS; part++) {
        weight += (u64)shared.parts[part][bucket] << (part * PART_BITS);
    }
    return weight;
}

// Where, in order of falling logits and then of ids, the running sum of weights (or of ids, by_count) over what `outer` keeps
// first exceeds `bound`, which it does.
__device__ Cut cut_at(Shared& shared, const Row& row, Cut outer, u64 bound, bool by_count) {
    u32 prefix = 0;
    for (i32 shift = 24; shift >= 0; shift -= 8) {
        for (i32 i = threadIdx.x; i < BUCKETS; i += THREADS) {
            for (i32 part = 0; part < PARTS; part++) {
                shared.parts[part][i] = 0;
            }
            shared.counts[i] = 0;
        }
        __syncthreads();
        for (i32 token = threadIdx.x; token < row.count; token += THREADS) {
            const u32 key = key_of(row.logits[token]);
            if (row.keeps(outer, token) && (shift == 24 || key >> (shift + 8) == prefix)) {
                const i32 bucket = key >> shift & (BUCKETS - 1);
                if (by_count) {
                    atomicAdd(&shared.counts[bucket], 1u);
                } else {
                    const u64 weight = row.weight(token);
                    for (i32 part = 0; part < PARTS; part++) {
                        const u32 bits = (u32)(weight >> (part * PART_BITS)) & ((1u << PART_BITS) - 1);
                        if (bits != 0) {
                            atomicAdd(&shared.parts[part][bucket], bits);
                        }
                    }
                }
            }
        }
        __syncthreads();
        if (threadIdx.x == 0) {
            u64 above = shift == 24 ? 0 : shared.above;
            i32 bucket = BUCKETS - 1;
            for (; bucket > 0 && above + amount_of(shared, bucket, by_count) <= bound; bucket--) {
                above += amount_of(shared, bucket, by_count);
            }
            shared.above = above;
            shared.prefix = prefix << 8 | (u32)bucket;
        }
        __syncthreads();
        prefix = shared.prefix;
    }
    // All that are left have one logit: the sum passes the bound in one of them, by order of ids.
    const u64 missing = bound - shared.above;
    const i32 last = first_exceeding(shared, row.count, [&](i32 token) -> u64 {
        if (key_of(row.logits[token]) != prefix || !row.keeps(outer, token)) {
            return 0;
        }
        return by_count ? 1 : row.weight(token);
    }, [&](u64) { return missing; });
    return {prefix, last};
}

// The weight of what a cut keeps.
__device__ u64 weight_of(Shared& shared, const Row& row, const Cut& cut) {
    u64 weight = 0;
    for (i32 token = threadIdx.x; token < row.count; token += THREADS) {
        weight += row.keeps(cut, token) ? row.weight(token) : 0;
    }
    weight = warp_total(weight);
    if (threadIdx.x % 32 == 0) {
        shared.sums[threadIdx.x / 32] = weight;
    }
    __syncthreads();
    u64 total = 0;
    for (i32 warp = 0; warp < WARPS; warp++) {
        total += shared.sums[warp];
    }
    __syncthreads();
    return total;
}

// The largest logit and the lowest id that has it; false if a logit is NaN or +inf, or all are -inf.
__device__ bool find_largest(Shared& shared, const float* logits, i32 count, float& largest, i32& best) {
    const float infinity = __int_as_float(0x7F800000);
    float most = -infinity;
    i32 place = 0x7FFFFFFF;
    for (i32 token = threadIdx.x; token < count; token += THREADS) {
        const float x = logits[token];
        // NaN counts as +inf: it ends the row.
        const float y = x != x ? infinity : x;
        if (y > most) {
            most = y;
            place = token;
        }
    }
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2) {
        const float other = __shfl_xor_sync(FULL_WARP, most, distance);
        const i32 other_place = __shfl_xor_sync(FULL_WARP, place, distance);
        if (other > most || (other == most && other_place < place)) {
            most = other;
            place = other_place;
        }
    }
    if (threadIdx.x % 32 == 0) {
        shared.largest[threadIdx.x / 32] = most;
        shared.best[threadIdx.x / 32] = place;
    }
    __syncthreads();
    largest = shared.largest[0];
    best = shared.best[0];
    for (i32 warp = 1; warp < WARPS; warp++) {
        if (shared.largest[warp] > largest || (shared.largest[warp] == largest && shared.best[warp] < best)) {
            largest = shared.largest[warp];
            best = shared.best[warp];
        }
    }
    return largest > -infinity && largest < infinity;
}

extern "C" __global__ void __launch_bounds__(THREADS)
sample_row(const __grid_constant__ SampleRowArgs args) {
    __shared__ Shared shared;
    const i32 row_number = blockIdx.x;
    const SampleParameters parameters = args.parameters[row_number];
    float* logits = args.logits + (i64)row_number * args.vocabulary;

    if (parameters.repetition_penalty != 1) {
        for (i32 i = threadIdx.x; i < parameters.history_count; i += THREADS) {
            const i32 token = args.history[parameters.history_start + i];
            if (token >= 0 && token < args.vocabulary) {
                const float x = logits[token];
                if (fabsf(x) <= MOST) {
                    const float y = x > 0 ? x / parameters.repetition_penalty : x * parameters.repetition_penalty;
                    logits[token] = fminf(fmaxf(y, -MOST), MOST);
                }
            }
        }
        __syncthreads();
    }

    Row row{logits, args.vocabulary, 0, 0};
    i32 token;
    if (!find_largest(shared, logits, args.vocabulary, row.largest, token)) {
        token = -1;
    } else if (parameters.temperature > 0) {
        row.inverse = fminf(1.0f / parameters.temperature, MOST);
        Cut cut{0, 0x7FFFFFFF};
        if (parameters.top_k > 0 && parameters.top_k < args.vocabulary) {
            cut = cut_at(shared, row, cut, (u64)parameters.top_k - 1, true);
        }
        if (parameters.top_p < 1) {
            // The shortest run that reaches a weight is the first whose sum exceeds one unit less.
            const u64 share = (u64)((double)fmaxf(parameters.top_p, 0.0f) * (double)weight_of(shared, row, cut));
            cut = cut_at(shared, row, cut, share > 0 ? share - 1 : 0, false);
        }
        const u64 least = (u64)ceil((double)fminf(fmaxf(parameters.min_p, 0.0f), 1.0f) * (double)(1ull << UNIT_BITS));
        const u64 word = philox(parameters.seed_low, parameters.seed_high, (u32)parameters.step) >> 8;
        token = first_exceeding(shared, args.vocabulary, [&](i32 id) -> u64 {
            const u64 weight = row.keeps(cut, id) ? row.weight(id) : 0;
            return weight >= least ? weight : 0;
        }, [&](u64 sum) {
            return (sum >> 24) * word + ((sum & 0xFFFFFF) * word >> 24);  // floor(u * sum), u = word / 2^24, within 64 bits
        });
    }
    if (threadIdx.x == 0) {
        args.tokens[row_number] = token;
    }
}
SIMT_KERNEL(sample_row);
