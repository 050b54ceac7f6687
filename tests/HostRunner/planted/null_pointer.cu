// An optional argument is used without looking whether it is there.
//: launch blocks=1 threads=32
//: buffer 128 none
//: long 0
//: caught 700 null pointer
struct Args { float* y; const float* bias; };
extern "C" __global__ void null_pointer(const __grid_constant__ Args args) {
    float v = 1;
#ifndef BUG
    if (args.bias != nullptr)
#endif
    {
        v += args.bias[threadIdx.x]; // <-
    }
    args.y[threadIdx.x] = v;
}
SIMT_KERNEL(null_pointer);
