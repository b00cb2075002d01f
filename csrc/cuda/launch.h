// The launchers as the rest of the extension sees them: plain pointers, no CUDA or torch header.
#pragma once

#include <stdexcept>

#include "plan.h"

struct CUstream_st;

namespace softgate::cuda {

using Stream = CUstream_st*;  // cudaStream_t

// The current device; its numbers are asked for once.
const Device& current_device();

// The device has no room now for a grid whose blocks wait for each other, though it has multiprocessors
// enough: another process has part of them (MPS), or they are a slice of a GPU. Nothing was launched.
struct CooperativeRefused : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Launch the kernels of a call as planned, on a stream of the current device. `workspace` has the plan's
// bytes, 16-byte aligned and of any content; it may be freed, in the stream's order, on return. Never
// wait, allocate or copy: a call can be captured in a CUDA graph. Throw std::runtime_error where a
// launch fails.
void launch(const Plan& plan, const Forward& call, void* workspace, Stream stream);
void launch(const Plan& plan, const Backward& call, void* workspace, Stream stream);

// One launch, whatever the number of channels.
void launch(const Running& update, Stream stream);

// Plans a call and launches it; allocate(bytes) gives the workspace, and is not asked for none. Where the
// device refuses the plan's cooperative grid the call is planned again without one, unless the variant
// was forced, and `device` has none from then on.
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
