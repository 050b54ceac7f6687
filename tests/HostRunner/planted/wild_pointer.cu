// An address that is no device memory at all.
//: launch blocks=1 threads=1
//: buffer 4 none
//: long 123456789012
//: caught 700 wild pointer
struct Args { float* y; const float* x; };
extern "C" __global__ void wild_pointer(const __grid_constant__ Args args) {
#ifdef BUG
    args.y[0] = *args.x; // <-
#else
    args.y[0] = 1;
#endif
}
SIMT_KERNEL(wild_pointer);
