// Lanes call a shuffle with a mask in which they are not.
//: launch blocks=1 threads=32
//: buffer 128 none
//: caught 719 in which it is not
struct Args { float* y; };
extern "C" __global__ void shuffle_caller(const __grid_constant__ Args args) {
    float v = (float)threadIdx.x;
#ifdef BUG
    v = __shfl_sync(0x0000FFFFu, v, 0); // <-
#else
    v = __shfl_sync(0xFFFFFFFFu, v, 0);
#endif
    args.y[threadIdx.x] = v;
}
SIMT_KERNEL(shuffle_caller);
