// The caller has freed a buffer that the kernel is still given.
//: launch blocks=1 threads=32
//: buffer 128 none
//: buffer 128 ramp freed-if-bug
//: caught 700 use of freed memory
struct Args { float* y; const float* x; };
extern "C" __global__ void freed_buffer(const __grid_constant__ Args args) {
    args.y[threadIdx.x] = args.x[threadIdx.x]; // <-
}
SIMT_KERNEL(freed_buffer);
