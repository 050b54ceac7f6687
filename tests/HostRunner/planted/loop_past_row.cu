// `<=` for `<`: the last row's loop reads past the end.
//: launch blocks=2 threads=32
//: buffer 256 none
//: buffer 512 ramp
//: caught 700 out-of-bounds 4-byte global read
struct Args { float* y; const float* x; };
extern "C" __global__ void loop_past_row(const __grid_constant__ Args args) {
    float sum = 0;
#ifdef BUG
    for (int i = threadIdx.x; i <= 64; i += 32) {
#else
    for (int i = threadIdx.x; i < 64; i += 32) {
#endif
        sum += args.x[blockIdx.x * 64 + i]; // <-
    }
    args.y[blockIdx.x * 32 + threadIdx.x] = sum;
}
SIMT_KERNEL(loop_past_row);
