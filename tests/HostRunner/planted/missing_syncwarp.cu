// Lanes exchange through shared memory; since Volta they do not run in step.
//: launch blocks=1 threads=32
//: buffer 128 none
//: caught 719 shared
struct Args { float* y; };
extern "C" __global__ void missing_syncwarp(const __grid_constant__ Args args) {
    __shared__ float tile[32];
    tile[threadIdx.x] = (float)threadIdx.x;
#ifndef BUG
    __syncwarp();
#endif
    args.y[threadIdx.x] = tile[31 - threadIdx.x]; // <-
}
SIMT_KERNEL(missing_syncwarp);
