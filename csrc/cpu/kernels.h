// The CPU kernels: one function per direction, and those of the convolution. The instruction set with the
// widest vectors of the processor is chosen at run time.
#pragma once

#include "../args.h"

namespace softgate::cpu {

void forward(const Forward& args);
void backward(const Backward& args);
void winograd(const Winograd& args);
void winograd_points(const WinogradPoints& args);
void winograd_gradient(const WinogradGradient& args);

// The instruction set in use: "avx512", "avx2" or "baseline".
const char* instruction_set();

}  // namespace softgate::cpu
