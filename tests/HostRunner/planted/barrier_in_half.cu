// Only half of the block comes to the barrier.
//: launch blocks=1 threads=128
//: buffer 512 none
//: caught 719 divergent barrier
struct Args { float* y; };
extern "C" __global__ void barrier_in_half(const __grid_constant__ Args args) {
#ifdef BUG
    if (threadIdx.x >= 64) {
        return;
    }
#endif
    args.y[threadIdx.x] = 1;
    __syncthreads(); // <-
    args.y[threadIdx.x] = 2;
}
SIMT_KERNEL(barrier_in_half);
