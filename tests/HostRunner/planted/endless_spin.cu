// A thread waits for a flag that nobody sets.
//: launch blocks=1 threads=32
//: buffer 4 zero
//: option spinMilliseconds=100
//: caught 702 endless spin
#include "shared/ptx.cuh"
struct Args { u32* flag; };
extern "C" __global__ void endless_spin(const __grid_constant__ Args args) {
#ifndef BUG
    if (threadIdx.x == 31) st_release(args.flag, 1);
#endif
    if (threadIdx.x == 0) {
        while (ld_acquire(args.flag) == 0) { // <-
        }
    }
}
SIMT_KERNEL(endless_spin);
