// The interface of the launchers for the rest of the extension. It needs no header of CUDA or torch.
#pragma once

#include <stdexcept>

#include "plan.h"

struct CUstream_st;

namespace softgate::cuda {

using Stream = CUstream_st*;  // cudaStream_t

// The properties of the current device. They are queried once for each device.
const Device& current_device();

// Thrown if the device refuses a cooperative launch, because not all thread blocks of the grid can be resident at the
// same time. This happens if another process uses some of the multiprocessors (MPS), or on a slice of a GPU (MIG).
// Nothing was launched.
struct CooperativeRefused : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Launches the kernels of a planned call on a stream of the current device. `workspace` has plan.workspace_bytes
// bytes, aligned to 16 bytes, with any content; after the return it may be freed in stream order. The function
// neither synchronises nor allocates nor copies, so a call can be captured in a CUDA graph. Throws
// std::runtime_error if a launch fails.
void launch(const Plan& plan, const Forward& call, void* workspace, Stream stream);
void launch(const Plan& plan, const Backward& call, void* workspace, Stream stream);

// Updates running statistics with a single launch.
void launch(const Running& update, Stream stream);

// Plans a call and launches it. allocate(bytes) returns the workspace; it is not called if the plan needs none. If
// the device refuses a cooperative launch, device.cooperative is set to 0 and the call is planned again, unless
// the variant was forced.
template <class Call, class Allocate>
void plan_and_launch(const Call& call, Device& device, Variant forced, Stream stream,
                     Allocate allocate) {
  const auto run = [&] {
    const Plan plan = make_plan(call, device, forced);
    launch(plan, call, plan.workspace_bytes > 0 ? allocate(plan.workspace_bytes) : nullptr, stream);
  };
  try {
    run();
  } catch (const CooperativeRefused&) {
    if (forced != Variant::automatic) throw;
    device.cooperative = 0;
    run();
  }
}

}  // namespace softgate::cuda
