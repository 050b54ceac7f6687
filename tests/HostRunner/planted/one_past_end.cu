// The last thread writes one number too far.
//: launch blocks=1 threads=32
//: buffer 124 none
//: buffer 128 ramp
//: caught 700 4 bytes past the end of a 124-byte allocation
struct Args { float* y; const float* x; };
extern "C" __global__ void one_past_end(const __grid_constant__ Args args) {
#ifdef BUG
    if (threadIdx.x <= 31) {
#else
    if (threadIdx.x < 31) {
#endif
        args.y[threadIdx.x] = args.x[threadIdx.x]; // <-
    }
}
SIMT_KERNEL(one_past_end);
