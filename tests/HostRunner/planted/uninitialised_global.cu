// A buffer is added to that nobody has cleared.
//: launch blocks=1 threads=32
//: buffer 128 none
//: caught 719 uninitialised 4-byte global read
struct Args { float* y; };
extern "C" __global__ void uninitialised_global(const __grid_constant__ Args args) {
#ifndef BUG
    args.y[threadIdx.x] = 0;
#endif
    args.y[threadIdx.x] += 1; // <-
}
SIMT_KERNEL(uninitialised_global);
