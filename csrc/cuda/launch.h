// The CUDA kernels as the rest of the extension sees them: plain pointers, no CUDA or torch header.
#pragma once

#include "plan.h"

struct CUstream_st;

namespace softgate::cuda {

using Stream = CUstream_st*;  // cudaStream_t

// The current device; its numbers are read once.
const Device& current_device();

// Tests and benchmarks choose the variant of the calls that follow; `automatic` gives it back. Not
// while another thread calls: a workspace is measured for the variant that was in force.
void force_variant(Variant variant);
Variant forced_variant();

// Scratch memory that a call needs, 16-byte aligned and of any content. It may be freed, in the
// stream's order, as soon as the call returns. Zero where none is needed.
size_t workspace_bytes(const Forward& call, const Device& device);
size_t workspace_bytes(const Backward& call, const Device& device);

// Launch the kernels of a call on a stream of the current device; nothing for an empty tensor. Never
// wait, allocate or copy: a call can be captured in a CUDA graph. Throw std::runtime_error where a
// launch fails and std::invalid_argument where a call cannot be served.
void forward(const Forward& call, const Device& device, void* workspace, Stream stream);
void backward(const Backward& call, const Device& device, void* workspace, Stream stream);

}  // namespace softgate::cuda
