// A loop whose step can be zero.
//: launch blocks=1 threads=1
//: buffer 128 ramp
//: buffer 4 none
//: option accessesPerThread=100000
//: caught 702 endless loop
struct Args { const float* x; float* y; };
extern "C" __global__ void endless_loop(const __grid_constant__ Args args) {
    float sum = 0;
#ifdef BUG
    int step = gridDim.y - 1;
#else
    int step = gridDim.y;
#endif
    for (int i = 0; i < 32; i += step) {
        sum += args.x[i]; // <-
    }
    *args.y = sum;
}
SIMT_KERNEL(endless_loop);
