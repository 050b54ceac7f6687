// The two halves of the block wait at two different barriers.
//: launch blocks=1 threads=64
//: buffer 256 none
//: caught 719 divergent barrier
struct Args { float* y; };
extern "C" __global__ void two_barriers(const __grid_constant__ Args args) {
#ifdef BUG
    if (threadIdx.x < 32) {
        args.y[threadIdx.x] = 1;
        __syncthreads();
    } else {
        args.y[threadIdx.x] = 2;
        __syncthreads(); // <-
    }
#else
    args.y[threadIdx.x] = threadIdx.x < 32 ? 1 : 2;
    __syncthreads();
#endif
}
SIMT_KERNEL(two_barriers);
