// A sum over the block reads what other warps have written, without waiting for them.
//: launch blocks=2 threads=128
//: buffer 8 none
//: buffer 1024 ramp
//: caught 719 shared
struct Args { float* y; const float* x; };
extern "C" __global__ void missing_barrier(const __grid_constant__ Args args) {
    __shared__ float partial[128];
    partial[threadIdx.x] = args.x[blockIdx.x * 128 + threadIdx.x];
#ifndef BUG
    __syncthreads();
#endif
    if (threadIdx.x == 0) {
        float sum = 0;
        for (int i = 0; i < 128; i++) {
            sum += partial[i]; // <-
        }
        args.y[blockIdx.x] = sum;
    }
}
SIMT_KERNEL(missing_barrier);
