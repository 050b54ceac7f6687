// A shuffle of the whole warp that half of it never reaches.
//: launch blocks=1 threads=32
//: buffer 128 none
//: caught 719 exited
struct Args { float* y; };
extern "C" __global__ void shuffle_in_branch(const __grid_constant__ Args args) {
    float v = (float)threadIdx.x;
#ifdef BUG
    if (threadIdx.x < 16)
#endif
    {
        v += __shfl_xor_sync(0xFFFFFFFFu, v, 1); // <-
    }
    args.y[threadIdx.x] = v;
}
SIMT_KERNEL(shuffle_in_branch);
