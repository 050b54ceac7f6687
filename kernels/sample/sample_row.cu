// sample_row: tokens[r] = the next token of row r, chosen as SampleRow states: repetition penalty (Keskar et al. 2019),
//             temperature, top-k, top-p (Holtzman et al. 2020), min-p, then one draw with Philox4x32-10 (Salmon et al. 2011)
//
//   tokens : (rows) i32      logits : (rows, vocabulary) f32, penalties are applied in place
//   parameters : (rows) SampleParameters      history : i32, the distinct tokens that rows with a penalty have seen
//   launch : one block of THREADS threads per row
//   moves  : 4 * vocabulary bytes per row and pass, from L2: 2 passes for a greedy row, 4 more for each of top-k, top-p and
//            the draw, which are the same question three times
//
// Nothing is sorted. "The first tokens of the sorted row whose count (or weight) exceeds a bound" is found by its last token:
// the logit's bits, made to sort as integers, are fixed 8 at a time, largest first, with a histogram of 256 buckets per pass;
// among equal logits the lower ids come first. Weights exp((x - max) / T) are integers in units of 2^-40 of the largest one:
// integer sums are the same in every order, so the result does not depend on how threads are scheduled.
#include "sample/argmax.cuh"
#include "sample/philox.cuh"

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

constexpr i32 BUCKETS = 256;
constexpr float UNITS = 1099511627776.0f;  // 2^40: with 2^18 tokens, sums stay below 2^58

// A place in the row's sorted order: the tokens above `key`, and of those equal to it the first `equals` in order of id.
struct Place {
    u32 key;
    i32 equals;
};

struct Row {
    const float* logits;
    i32          count;
    float        largest, temperature;

    // Sorts as the logits do; a NaN sorts as the lowest.
    __device__ __forceinline__ u32 key(i32 token) const {
        const float x = logits[token] + 0.0f;  // -0 sorts with 0
        const u32 bits = __float_as_uint(x);
        return x != x ? 0 : bits & 0x80000000u ? ~bits : bits | 0x80000000u;
    }

    __device__ __forceinline__ u64 weight(i32 token) const {
        const float x = logits[token];
        return x != x ? 0 : (u64)(expf((x - largest) / temperature) * UNITS);
    }
};

struct Shared {
    u64 weights[BUCKETS];
    u32 counts[BUCKETS];
    u64 above;           // what lies above the prefix: weight, or tokens
    u32 prefix;
    u32 equal_count;
    u64 equal_weight;    // of one token with the last key
    i32 found;
    i32 warp_counts[THREADS / 32];
};

__device__ __forceinline__ u64 amount(const Shared& shared, i32 bucket, bool by_count) {
    return by_count ? shared.counts[bucket] : shared.weights[bucket];
}

// The place at which the running sum of weights (or of tokens, by_count) over the row in sorted order first exceeds `bound`,
// looking only at the tokens up to `last`. If it never does: `last`.
__device__ Place first_above(Shared& shared, const Row& row, Place last, u64 bound, bool by_count) {
    u32 prefix = 0;
    for (i32 shift = 24; shift >= 0; shift -= 8) {
        for (i32 i = threadIdx.x; i < BUCKETS; i += THREADS) {
            shared.weights[i] = 0;
            shared.counts[i] = 0;
        }
        __syncthreads();
        for (i32 token = threadIdx.x; token < row.count; token += THREADS) {
            const u32 key = row.key(token);
            if (key >= last.key && (shift == 24 || key >> (shift + 8) == prefix)) {
                const i32 bucket = key >> shift & (BUCKETS - 1);
                atomicAdd(&shared.counts[bucket], 1u);
                if (!by_count) {
                    atomicAdd(&shared.weights[bucket], row.weight(token));
                }
            }
        }
        __syncthreads();
        if (threadIdx.x == 0) {
            u64 above = shift == 24 ? 0 : shared.above;
            i32 bucket = BUCKETS - 1;
            // note: the lowest bucket with anything in it is taken when no sum exceeds the bound.
            i32 lowest = bucket;
            for (; bucket >= 0; bucket--) {
                if (shared.counts[bucket] != 0) {
                    lowest = bucket;
                    if (above + amount(shared, bucket, by_count) > bound) {
                        break;
                    }
                    above += amount(shared, bucket, by_count);
                }
            }
            if (bucket < 0) {
                bucket = lowest;
                above -= amount(shared, bucket, by_count);
            }
            shared.above = above;
            shared.prefix = prefix << 8 | (u32)bucket;
            shared.equal_count = shared.counts[bucket];
            shared.equal_weight = shared.counts[bucket] == 0 ? 0 : shared.weights[bucket] / shared.counts[bucket];
        }
        __syncthreads();
        prefix = shared.prefix;
    }
    // All tokens that are left have the same logit, so the same weight; the running sum passes the bound in one of them.
    const u64 each = by_count ? 1 : shared.equal_weight;
    i32 available = (i32)shared.equal_count;
    if (prefix == last.key) {
        available = min(available, last.equals);
    }
    const u64 missing = bound >= shared.above ? bound - shared.above : 0;
    i32 equals = available;
    if (each != 0 && missing / each < (u64)available) {
        equals = (i32)(missing / each) + 1;
    }
    __syncthreads();
    return {prefix, equals};
}

// The weight of all tokens up to `last`.
__device__ u64 weight_until(Shared& shared, const Row& row, Place last) {
    if (threadIdx.x == 0) {
        shared.above = 0;
        shared.equal_count = 0;
        shared.equal_weight = 0;
    }
    __syncthreads();
    u64 weight = 0;
    for (i32 token = threadIdx.x; token < row.count; token += THREADS) {
        const u32 key = row.key(token);
        if (key > last.key) {
            weight += row.weight(token);
        } else if (key == last.key) {
            atomicMax(&shared.equal_weight, row.weight(token));  // the same from every thread
        }
    }
    atomicAdd(&shared.above, weight);
    __syncthreads();
    const u64 sum = shared.above + shared.equal_weight * (u64)last.equals;
    __syncthreads();
    return sum;
}

// The id of the equals-th token (from 1) that has the place's key.
__device__ i32 token_at(Shared& shared, const Row& row, Place place) {
    i32 before = 0;
    if (threadIdx.x == 0) {
        shared.found = 0;
    }
    for (i32 from = 0; from < row.count; from += THREADS) {
        const i32 token = from + threadIdx.x;
        const bool equal = token < row.count && row.key(token) == place.key;
        const u32 lanes = __ballot_sync(FULL_WARP, equal);
        if (threadIdx.x % 32 == 0) {
            shared.warp_counts[threadIdx.x / 32] = __popc(lanes);
        }
        __syncthreads();
        i32 order = before + __popc(lanes & ((1u << threadIdx.x % 32) - 1));
        for (i32 warp = 0; warp < THREADS / 32; warp++) {
            order += warp < (i32)threadIdx.x / 32 ? shared.warp_counts[warp] : 0;
            before += shared.warp_counts[warp];
        }
        if (equal && order == place.equals - 1) {
            shared.found = token;
        }
        __syncthreads();
    }
    return shared.found;
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
                logits[token] = x > 0 ? x / parameters.repetition_penalty : x * parameters.repetition_penalty;
            }
        }
        __syncthreads();
    }

    const Largest best = block_largest<THREADS / 32>(logits, args.vocabulary);
    i32 token = best.place;
    // A row whose largest logit is no number, or infinite, has no weights to draw by.
    if (parameters.temperature > 0 && fabsf(best.value) <= 3.402823466e38f) {
        const Row row{logits, args.vocabulary, best.value, parameters.temperature};
        Place last{0, args.vocabulary};
        if (parameters.top_k > 0 && parameters.top_k < args.vocabulary) {
            last = first_above(shared, row, last, (u64)parameters.top_k - 1, true);
        }
        if (parameters.top_p < 1) {
            // The shortest run that reaches the bound is the first sum above it, one unit lower.
            const float share = fmaxf(parameters.top_p, 0.0f);
            const u64 bound = (u64)((double)share * (double)weight_until(shared, row, last));
            last = first_above(shared, row, last, bound > 0 ? bound - 1 : 0, false);
        }
        if (parameters.min_p > 0) {
            // Tokens of less than min_p times the largest weight: a bound on the logit itself.
            const float lowest = row.largest + logf(fminf(parameters.min_p, 1.0f)) * parameters.temperature;
            const u32 bits = __float_as_uint(lowest);
            const u32 key = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
            if (key > last.key) {
                last = {key, args.vocabulary};
            }
        }
        // floor(u * sum), u = word / 2^24, without leaving 64 bits.
        const u64 sum = weight_until(shared, row, last);
        const u64 word = philox(parameters.seed_low, parameters.seed_high, (u32)parameters.step) >> 8;
        const u64 bound = (sum >> 24) * word + ((sum & 0xFFFFFF) * word >> 24);
        token = token_at(shared, row, first_above(shared, row, last, bound, false));
    }
    if (threadIdx.x == 0) {
        args.tokens[row_number] = token;
    }
}
SIMT_KERNEL(sample_row);
