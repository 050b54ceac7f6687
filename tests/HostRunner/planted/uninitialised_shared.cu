// The tile's last column is read and was never written.
//: launch blocks=2 threads=32
//: buffer 256 none
//: caught 719 uninitialised shared read
struct Args { float* y; };
extern "C" __global__ void uninitialised_shared(const __grid_constant__ Args args) {
    __shared__ float tile[33];
    tile[threadIdx.x] = 1;
#ifndef BUG
    if (threadIdx.x == 0) tile[32] = 0;
#endif
    __syncthreads();
    args.y[blockIdx.x * 32 + threadIdx.x] = tile[threadIdx.x + 1]; // <-
}
SIMT_KERNEL(uninitialised_shared);
