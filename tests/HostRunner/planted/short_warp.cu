// A block of 48 threads: the second warp has 16 lanes, the mask names 32.
//: launch blocks=1 threads=48
//: buffer 192 none
//: caught 719 which the block does not have
struct Args { float* y; };
extern "C" __global__ void short_warp(const __grid_constant__ Args args) {
#ifdef BUG
    unsigned mask = 0xFFFFFFFFu;
#else
    unsigned mask = threadIdx.x < 32 ? 0xFFFFFFFFu : 0xFFFFu;
#endif
    args.y[threadIdx.x] = (float)__any_sync(mask, threadIdx.x == 40); // <-
}
SIMT_KERNEL(short_warp);
