#include "pass.h"

#include <algorithm>

namespace softgate::cuda {
namespace {

constexpr int kMinThreads = 64;  // of a thread block with few items
// Thread blocks of a pass per multiprocessor. Several waves balance the load, but each thread block must first load
// the constants of its channels.
constexpr int kBlocks = 8;
constexpr int kItemsEach = 4;  // the least number of items of a thread if a group is split
constexpr int64_t kPacksCounted = int64_t(1) << 32;  // the range of the 32-bit Offset in tile.cuh

bool aligned(const void* tensor, int bytes) {
  return reinterpret_cast<uintptr_t>(tensor) % bytes == 0;
}

int lanes_of(DType dtype, const Packing& packing) {
  return packing.vector ? kPackBytes / bytes_of(dtype) : 1;
}

// Whether all tensors can be accessed by packs of 16 bytes, and if so, whether the branches need half packs.
template <class Branch>
Packing packing_of(const Dims& dims, DType dtype, const Source& source, bool upsample2x,
                   std::initializer_list<const void*> tensors, const Branch* branches) {
  Packing packing;
  packing.upsample2x = upsample2x;
  const int size = bytes_of(dtype), lanes = kPackBytes / size;
  if (dtype == DType::f64) return packing;
  for (const void* tensor : tensors) {
    if (!aligned(tensor, kPackBytes)) return packing;
  }
  bool whole = true, halves = true;
  for (int i = 0; i < source.branches; ++i) {
    whole = whole && aligned(branches[i].data, kPackBytes);
    halves = halves && aligned(branches[i].data, kPackBytes / 2);
    if (dims.channels_last) {
      whole = whole && source.width[i] % lanes == 0;
      halves = halves && source.width[i] % (lanes / 2) == 0;
    }
  }
  if (dims.channels_last) {
    packing.vector = dims.c % lanes == 0 && source.skip_channels % lanes == 0 &&
                     (!upsample2x || source.low_channels % lanes == 0) && (whole || halves);
    packing.half_packs = packing.vector && !whole;
  } else {
    packing.vector = (upsample2x ? dims.w : dims.plane()) % lanes == 0 && whole &&
                     dims.c * dims.count() / lanes < kPacksCounted;
  }
  return packing;
}

Packing packing_of(const Forward& a) {
  const Source& s = a.source;
  // If the branch is y itself (bn_relu), the second pass reads it by whole packs, so it must be aligned to them.
  const In y = a.y.given || !a.norm.training ? In{} : s.branch[0];
  return packing_of(a.dims, a.dtype, s, s.low.given,
                    {s.skip.data, s.low.data, a.y.data, a.z.data, y.data}, s.branch);
}

Packing packing_of(const Backward& a) {
  const In skip = a.dalpha.given ? a.source.skip : In{}, y = a.dz.given ? a.y : In{};
  return packing_of(a.dims, a.dtype, a.source, a.dlow.given,
                    {skip.data, a.dy.data, a.dz.data, y.data, a.dskip.data, a.dlow.data}, a.dbranch);
}

// Sets the items of a line, the lines of a sample, and the distance of `rows` items.
void set_items(WorkSplit& cut, const Dims& dims, int lanes, bool upsample2x) {
  const int pixels = dims.channels_last ? 1 : lanes;
  const int across = upsample2x && pixels == 1 ? 2 : 1;
  cut.cols = static_cast<int>((upsample2x ? dims.w : dims.plane()) / (across * pixels));
  cut.lines = upsample2x ? static_cast<int>(dims.h / 2) : 1;
  cut.items = dims.n * cut.lines * cut.cols;
  const int line = cut.rows / cut.cols;
  cut.step_col = cut.rows % cut.cols;
  cut.step_line = upsample2x ? line % cut.lines : 0;
  cut.step_n = upsample2x ? line / cut.lines : line;
}

}  // namespace

void set_splits(WorkSplit& cut, int64_t splits) {
  cut.chunk = ceil_div(ceil_div(cut.items, splits), cut.rows) * cut.rows;
  cut.splits = static_cast<int>(ceil_div(cut.items, cut.chunk));
}

WorkSplit block_shape(const Dims& dims, DType dtype, const Packing& packing, int max_lanes) {
  WorkSplit cut;
  const int lanes = lanes_of(dtype, packing);
  if (dims.channels_last) {
    const int64_t packs = dims.c / lanes;
    cut.groups = static_cast<int>(ceil_div(packs, max_lanes));
    cut.lanes = static_cast<int>(ceil_div(packs, cut.groups));
    if (cut.lanes < kLeastLanes && cut.groups > 1) {
      cut.groups = static_cast<int>(packs / kLeastLanes);
      cut.lanes = static_cast<int>(ceil_div(packs, cut.groups));
    }
  } else {
    cut.groups = static_cast<int>(dims.c);
  }
  cut.rows = kThreads / cut.lanes;
  set_items(cut, dims, lanes, packing.upsample2x);
  while (cut.lanes * cut.rows > kMinThreads && cut.rows / 2 >= cut.items) cut.rows /= 2;
  set_items(cut, dims, lanes, packing.upsample2x);
  set_splits(cut, 1);
  return cut;
}

int64_t splits_for(const WorkSplit& cut, int64_t blocks, int64_t groups, int items_each) {
  const int64_t most = ceil_div(cut.items, int64_t(cut.rows) * items_each);
  return std::clamp<int64_t>(blocks / groups, 1, std::max<int64_t>(most, 1));
}

int packs_of_item(const Dims& dims, const Packing& packing) {
  if (!packing.upsample2x) return 1;
  return dims.channels_last || !packing.vector ? 4 : 2;
}

size_t work_bytes(DType dtype, const Dims& dims, const Pass& pass) {
  const size_t accumulator = accumulator_bytes(dtype);
  const size_t channels = dims.channels_last ? lanes_of(dtype, pass.packing) : 1;
  const size_t merge = 3 * accumulator * channels * std::max(pass.cut.threads(), kMinThreads);
  const size_t table = 6 * accumulator * channels * kMaxLanes;
  return (std::max(merge, table) + kPackBytes - 1) / kPackBytes * kPackBytes;
}

size_t kept_bytes(const Dims& dims, const Pass& pass, int tensors) {
  const size_t steps = ceil_div(pass.cut.chunk, pass.cut.rows);
  return steps * packs_of_item(dims, pass.packing) * pass.cut.threads() * tensors * kPackBytes;
}

namespace {

template <class Call>
Pass pass_over(const Call& a, const Device& device) {
  Pass pass;
  pass.packing = packing_of(a);
  pass.cut = block_shape(a.dims, a.dtype, pass.packing, kMaxLanes);
  const int64_t total = int64_t(device.processors) * kBlocks;
  set_splits(pass.cut, splits_for(pass.cut, total, pass.cut.groups, kItemsEach));
  pass.blocks = int64_t(pass.cut.groups) * pass.cut.splits;
  pass.shared = work_bytes(a.dtype, a.dims, pass);
  return pass;
}

}  // namespace

Pass whole_pass(const Forward& a, const Device& device) { return pass_over(a, device); }

Pass whole_pass(const Backward& a, const Device& device) { return pass_over(a, device); }

Pass without_upsample(const Dims& dims, DType dtype, const Pass& pass) {
  Pass plain = pass;
  plain.packing.upsample2x = plain.packing.half_packs = false;
  set_items(plain.cut, dims, lanes_of(dtype, pass.packing), false);
  plain.cut.chunk = ceil_div(ceil_div(plain.cut.items, pass.cut.splits), pass.cut.rows) * pass.cut.rows;
  return plain;
}

}  // namespace softgate::cuda
