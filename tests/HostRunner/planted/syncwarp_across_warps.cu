// A warp's barrier does not order two warps.
//: launch blocks=1 threads=64
//: buffer 256 none
//: caught 719 shared
struct Args { float* y; };
extern "C" __global__ void syncwarp_across_warps(const __grid_constant__ Args args) {
    __shared__ float tile[64];
    tile[threadIdx.x] = (float)threadIdx.x;
#ifdef BUG
    __syncwarp();
#else
    __syncthreads();
#endif
    args.y[threadIdx.x] = tile[63 - threadIdx.x]; // <-
}
SIMT_KERNEL(syncwarp_across_warps);
