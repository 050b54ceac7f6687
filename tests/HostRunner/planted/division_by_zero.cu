// On a GPU an integer division by zero gives all ones, and nobody notices.
//: launch blocks=1 threads=32
//: buffer 128 none
//: int 0
//: caught 719 division by zero
struct Args { int* y; int heads; };
extern "C" __global__ void division_by_zero(const __grid_constant__ Args args) {
#ifdef BUG
    args.y[threadIdx.x] = threadIdx.x / args.heads; // <-
#else
    args.y[threadIdx.x] = threadIdx.x / (args.heads + 1);
#endif
}
SIMT_KERNEL(division_by_zero);
