// What the author held to be impossible happens.
//: launch blocks=1 threads=32
//: buffer 128 none
//: caught 710 assertion failed
struct Args { float* y; };
extern "C" __global__ void assertion(const __grid_constant__ Args args) {
#ifdef BUG
    assert(threadIdx.x < 31); // <-
#endif
    args.y[threadIdx.x] = 1;
}
SIMT_KERNEL(assertion);
