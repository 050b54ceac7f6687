// The page after the right one: the table says -1 there, which is no page.
//: launch blocks=1 threads=32
//: buffer 128 none
//: buffer 2048 ramp
//: ints 0 1 -1 -1
//: caught 700 global read
struct Args { float* y; const float* arena; const int* table; };
extern "C" __global__ void page_off_by_one(const __grid_constant__ Args args) {
    float sum = 0;
    for (int token = 0; token < 32; token++) {
#ifdef BUG
        int page = args.table[token / 16 + 1];
#else
        int page = args.table[token / 16];
#endif
        const float* row = args.arena + page * 256 + (token % 16) * 16;
        sum += row[threadIdx.x % 16]; // <-
    }
    args.y[threadIdx.x] = sum;
}
SIMT_KERNEL(page_off_by_one);
