// An index past the end of an array of known size.
//: launch blocks=1 threads=32
//: buffer 128 none
//: caught 700 out of bounds
struct Args { float* y; };
extern "C" __global__ void array_index(const __grid_constant__ Args args) {
    __shared__ float table[4][8];
#ifdef BUG
    int column = threadIdx.x / 4 + 1;
#else
    int column = threadIdx.x / 4;
#endif
    table[threadIdx.x % 4][column] = 1; // <-
    __syncthreads();
    args.y[threadIdx.x] = table[threadIdx.x % 4][column];
}
SIMT_KERNEL(array_index);
