// Half of a warp waits at the barrier, the other half in a shuffle for all lanes.
//: launch blocks=1 threads=32
//: buffer 128 none
//: caught 719 deadlock
struct Args { float* y; };
extern "C" __global__ void barrier_against_shuffle(const __grid_constant__ Args args) {
    float v = 1;
#ifdef BUG
    if (threadIdx.x < 16) {
        v = __shfl_xor_sync(0xFFFFFFFFu, v, 1); // <-
    } else {
        __syncthreads();
    }
#else
    v = __shfl_xor_sync(0xFFFFFFFFu, v, 1);
    __syncthreads();
#endif
    args.y[threadIdx.x] = v;
}
SIMT_KERNEL(barrier_against_shuffle);
