// One walk over the data: the packs that its tensors allow, and how a grid of blocks shares the work.
#pragma once

#include "plan.h"

namespace softgate::cuda {

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
constexpr int bytes_of(DType dtype) { return dtype == DType::f64 ? 8 : dtype == DType::f32 ? 4 : 2; }
constexpr size_t accumulator_bytes(DType dtype) { return dtype == DType::f64 ? 8 : 4; }

// One walk over everything that the call names.
Pass whole_pass(const Forward& call, const Device& device);
Pass whole_pass(const Backward& call, const Device& device);

// The same channels and blocks over the packs of y alone, whose items are single packs.
Pass without_upsample(const Dims& dims, DType dtype, const Pass& pass);

// Lanes and rows of a block; one split.
WorkSplit block_shape(const Dims& dims, DType dtype, const Packing& packing, int max_lanes);

// Enough splits for `blocks` blocks over `groups` groups, each with a tile of work for every thread.
int64_t splits_for(const WorkSplit& cut, int64_t blocks, int64_t groups, int items_each);
void set_splits(WorkSplit& cut, int64_t splits);

int packs_of_item(const Dims& dims, const Packing& packing);

// Shared memory of merges and tables, which take turns, and of the packs of `tensors` tensors that wait.
size_t work_bytes(DType dtype, const Dims& dims, const Pass& pass);
size_t kept_bytes(const Dims& dims, const Pass& pass, int tensors);

}  // namespace softgate::cuda
