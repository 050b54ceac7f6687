// A pair of numbers stored at an odd index.
//: launch blocks=1 threads=16
//: buffer 136 none
//: caught 716 misaligned
struct Args { float* y; };
extern "C" __global__ void misaligned_vector(const __grid_constant__ Args args) {
#ifdef BUG
    int at = 2 * threadIdx.x + 1;
#else
    int at = 2 * threadIdx.x;
#endif
    *(float2*)(args.y + at) = make_float2(1, 2); // <-
}
SIMT_KERNEL(misaligned_vector);
