// Blocks count into a number that one of them also writes plainly.
//: launch blocks=4 threads=32
//: buffer 4 zero
//: caught 719 race between blocks
struct Args { unsigned* counter; };
extern "C" __global__ void atomic_and_plain(const __grid_constant__ Args args) {
#ifdef BUG
    if (blockIdx.x == 0 && threadIdx.x == 0) *args.counter = 0;
#endif
    atomicAdd(args.counter, 1);
}
SIMT_KERNEL(atomic_and_plain);
