// The mask names half of the warp, the shuffle reads from the other half.
//: launch blocks=1 threads=32
//: buffer 128 none
//: caught 719 not in the mask
struct Args { float* y; };
extern "C" __global__ void shuffle_mask(const __grid_constant__ Args args) {
    float v = (float)threadIdx.x;
    if (threadIdx.x < 16) {
#ifdef BUG
        v += __shfl_xor_sync(0x0000FFFFu, v, 16); // <-
#else
        v += __shfl_xor_sync(0x0000FFFFu, v, 8);
#endif
    }
    args.y[threadIdx.x] = v;
}
SIMT_KERNEL(shuffle_mask);
