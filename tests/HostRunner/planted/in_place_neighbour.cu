// In place, each block reads its neighbour's row, which the neighbour overwrites.
//: launch blocks=4 threads=32
//: buffer 512 ramp
//: buffer 512 none
//: caught 719 race between blocks
struct Args { float* x; float* y; };
extern "C" __global__ void in_place_neighbour(const __grid_constant__ Args args) {
    int next = (blockIdx.x + 1) % gridDim.x;
    float v = args.x[next * 32 + threadIdx.x];
#ifdef BUG
    float* to = args.x;
#else
    float* to = args.y;
#endif
    to[blockIdx.x * 32 + threadIdx.x] = v;
}
SIMT_KERNEL(in_place_neighbour);
