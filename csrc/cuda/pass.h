// Plans one pass over the data: which packs the shapes and addresses of its tensors allow, and how a grid of thread
// blocks shares the work.
#pragma once

#include "plan.h"

namespace softgate::cuda {

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
constexpr int bytes_of(DType dtype) { return dtype == DType::f64 ? 8 : dtype == DType::f32 ? 4 : 2; }
constexpr size_t accumulator_bytes(DType dtype) { return dtype == DType::f64 ? 8 : 4; }

// The pass over all tensors of the call.
Pass whole_pass(const Forward& call, const Device& device);
Pass whole_pass(const Backward& call, const Device& device);

// The same channels and thread blocks for a pass over y alone, whose items are single packs.
Pass without_upsample(const Dims& dims, DType dtype, const Pass& pass);

// The lanes and rows of a thread block, with one split.
WorkSplit block_shape(const Dims& dims, DType dtype, const Packing& packing, int max_lanes);

// The number of splits that gives about `blocks` thread blocks for `groups` groups. It is limited so that every
// thread has at least `items_each` items.
int64_t splits_for(const WorkSplit& cut, int64_t blocks, int64_t groups, int items_each);
void set_splits(WorkSplit& cut, int64_t splits);

int packs_of_item(const Dims& dims, const Packing& packing);

// The shared memory of a thread block in bytes. work_bytes: for the merge of sums and for the table of constants,
// which use the same bytes one after the other. kept_bytes: for the packs of `tensors` tensors in the resident
// variant.
size_t work_bytes(DType dtype, const Dims& dims, const Pass& pass);
size_t kept_bytes(const Dims& dims, const Pass& pass, int tensors);

}  // namespace softgate::cuda
