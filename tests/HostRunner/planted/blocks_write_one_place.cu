// `>` for `>=` in the bounds test: a block's extra thread writes the next block's number.
//: launch blocks=4 threads=32
//: buffer 512 none
//: caught 719 race between blocks
struct Args { float* y; };
extern "C" __global__ void blocks_write_one_place(const __grid_constant__ Args args) {
#ifdef BUG
    if (threadIdx.x > 16) return;
#else
    if (threadIdx.x >= 16) return;
#endif
    args.y[blockIdx.x * 16 + threadIdx.x] = (float)blockIdx.x; // <-
}
SIMT_KERNEL(blocks_write_one_place);
