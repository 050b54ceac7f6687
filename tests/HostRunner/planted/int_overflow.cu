// An element's offset in 32 bits: sequence 5 of 2^29 elements each.
//: launch blocks=1 threads=1
//: buffer 8 none
//: int 536870912
//: caught 719 signed integer overflow
struct Args { long long* y; int stride; };
extern "C" __global__ void int_overflow(const __grid_constant__ Args args) {
    int sequence = 5 + threadIdx.x;
#ifdef BUG
    args.y[0] = sequence * args.stride; // <-
#else
    args.y[0] = (long long)sequence * args.stride;
#endif
}
SIMT_KERNEL(int_overflow);
