// rope_angles: cos_sin[r,i] = scale * cos(a), cos_sin[r,pairs + i] = scale * sin(a), a = positions[r] * inverse_frequency[i]
//              (Su et al. 2021, section 3.2.2)
//
//   cos_sin : (rows, 2 * pairs) f32      positions : (rows) i32      inverse_frequency : (pairs) f32
//   The angle is a double: at position 100,000 an f32 angle would be wrong in the third digit of its sine. It is reduced
//   to [-pi, pi] here, in two steps of fused multiply-add, so that the library's path for huge arguments is never taken.
//   launch  : (rows, ceil(pairs / THREADS)) blocks, one thread per pair; once per step, whatever the number of layers
//   moves   : 8 * pairs bytes per row
#include "shared/numeric.cuh"

struct RopeAnglesArgs {
    float*       cos_sin;            // (rows, 2 * pairs)
    const i32*   positions;          // (rows)
    const float* inverse_frequency;  // (pairs)
    i32          pairs;
    float        scale;
};

constexpr double ONE_TURN_HIGH = 6.283185307179586, ONE_TURN_LOW = 2.4492935982947064e-16;
constexpr double TURNS_PER_RADIAN = 0.15915494309189535;

extern "C" __global__ void __launch_bounds__(THREADS)
rope_angles(const __grid_constant__ RopeAnglesArgs args) {
    const i32 row = blockIdx.x;
    const i32 i = blockIdx.y * THREADS + threadIdx.x;
    if (i >= args.pairs) {
        return;
    }
    const double angle = (double)args.positions[row] * (double)args.inverse_frequency[i];
    const double turns = rint(angle * TURNS_PER_RADIAN);
    const double reduced = fma(-turns, ONE_TURN_LOW, fma(-turns, ONE_TURN_HIGH, angle));
    float* cos_sin = args.cos_sin + (i64)row * 2 * args.pairs;
    cos_sin[i] = (float)cos(reduced) * args.scale;
    cos_sin[args.pairs + i] = (float)sin(reduced) * args.scale;
}
SIMT_KERNEL(rope_angles);
