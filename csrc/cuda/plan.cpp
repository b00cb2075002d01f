#include "plan.h"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace softgate::cuda {
namespace {

constexpr int kPackBytes = 16;
constexpr int kMaxLanes = 32;          // 512 bytes of a pixel side by side
constexpr int kMinThreads = 64;
constexpr int kBlocks = 8;             // of a pass per processor: each reads its channels' constants
constexpr int kItemsEach = 4;          // of a thread, at least, before a group is split
constexpr int kSlicesUnderWay = 3;     // see sliced.cuh
constexpr int64_t kSmallBytes = 4 << 20;  // an activation this small is all latency

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

int bytes_of(DType dtype) {
  return dtype == DType::f64 ? 8 : dtype == DType::f32 ? 4 : 2;
}

size_t accumulator_bytes(DType dtype) { return dtype == DType::f64 ? 8 : 4; }

bool aligned(const void* tensor, int bytes) {
  return reinterpret_cast<uintptr_t>(tensor) % bytes == 0;
}

int lanes_of(DType dtype, const Packing& packing) {
  return packing.vector ? kPackBytes / bytes_of(dtype) : 1;
}

// Whether whole packs fit the tensors, and if so, whether they fit the branches too.
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
    packing.vector = (upsample2x ? dims.w : dims.plane()) % lanes == 0 && whole;
  }
  return packing;
}

Packing packing_of(const Forward& a) {
  const Source& s = a.source;
  return packing_of(a.dims, a.dtype, s, s.low.given,
                    {s.skip.data, s.low.data, a.y.data, a.z.data}, s.branch);
}

Packing packing_of(const Backward& a) {
  const In skip = a.dalpha.given ? a.source.skip : In{}, y = a.dz.given ? a.y : In{};
  return packing_of(a.dims, a.dtype, a.source, a.dlow.given,
                    {skip.data, a.dy.data, a.dz.data, y.data, a.dskip.data, a.dlow.data}, a.dbranch);
}

// Items of a line and lines of a sample, and how far `rows` items go.
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

void set_splits(WorkSplit& cut, int64_t splits) {
  cut.chunk = ceil_div(ceil_div(cut.items, splits), cut.rows) * cut.rows;
  cut.splits = static_cast<int>(ceil_div(cut.items, cut.chunk));
}

// Lanes and rows of a block; one split.
WorkSplit block_shape(const Dims& dims, DType dtype, const Packing& packing, int max_lanes) {
  WorkSplit cut;
  const int lanes = lanes_of(dtype, packing);
  if (dims.channels_last) {
    const int64_t packs = dims.c / lanes;
    cut.groups = static_cast<int>(ceil_div(packs, max_lanes));
    cut.lanes = static_cast<int>(ceil_div(packs, cut.groups));
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

// Enough splits for `blocks` blocks over `groups` groups, each with a tile of work for every thread.
int64_t splits_for(const WorkSplit& cut, int64_t blocks, int64_t groups, int items_each) {
  const int64_t most = ceil_div(cut.items, int64_t(cut.rows) * items_each);
  return std::clamp<int64_t>(blocks / groups, 1, std::max<int64_t>(most, 1));
}

int packs_of_item(const Dims& dims, const Packing& packing) {
  if (!packing.upsample2x) return 1;
  return dims.channels_last || !packing.vector ? 4 : 2;
}

// Shared memory of merges and tables, which take turns.
size_t work_bytes(DType dtype, const Dims& dims, const Pass& pass) {
  const size_t accumulator = accumulator_bytes(dtype);
  const size_t channels = dims.channels_last ? lanes_of(dtype, pass.packing) : 1;
  const size_t merge = 3 * accumulator * channels * std::max(pass.cut.threads(), kMinThreads);
  const size_t table = 6 * accumulator * channels * pass.cut.lanes;
  return (std::max(merge, table) + kPackBytes - 1) / kPackBytes * kPackBytes;
}

// Shared memory of the packs of `tensors` tensors that wait.
size_t kept_bytes(const Dims& dims, const Pass& pass, int tensors) {
  const size_t steps = ceil_div(pass.cut.chunk, pass.cut.rows);
  return steps * packs_of_item(dims, pass.packing) * pass.cut.threads() * tensors * kPackBytes;
}

// One walk over everything that the call names.
template <class Call>
Pass whole_pass(const Call& a, const Device& device) {
  Pass pass;
  pass.packing = packing_of(a);
  pass.cut = block_shape(a.dims, a.dtype, pass.packing, kMaxLanes);
  const int64_t total = int64_t(device.processors) * kBlocks;
  set_splits(pass.cut, splits_for(pass.cut, total, pass.cut.groups, kItemsEach));
  pass.blocks = int64_t(pass.cut.groups) * pass.cut.splits;
  pass.shared = work_bytes(a.dtype, a.dims, pass);
  return pass;
}

// The same channels and blocks over the packs of y alone, whose items are single packs.
Pass without_upsample(const Dims& dims, DType dtype, const Pass& pass) {
  Pass plain = pass;
  plain.packing.upsample2x = plain.packing.half_packs = false;
  set_items(plain.cut, dims, lanes_of(dtype, pass.packing), false);
  plain.cut.chunk = ceil_div(ceil_div(plain.cut.items, pass.cut.splits), pass.cut.rows) * pass.cut.rows;
  return plain;
}

bool plan_sliced(const Dims& dims, DType dtype, const Device& device, int tensors, Plan& plan) {
  const int64_t blocks =
      int64_t(device.processors) * std::min(device.cooperative, kBlocksPerProcessor);
  if (blocks == 0 || !plan.reduce.packing.vector) return false;
  const int64_t slice_bytes = device.l2_bytes / 2 / kSlicesUnderWay / tensors;
  for (int lanes = dims.channels_last ? 8 : 1; lanes > 0; lanes /= 2) {
    WorkSplit cut = block_shape(dims, dtype, plan.reduce.packing, lanes);
    const int64_t group_bytes =
        cut.items * cut.lanes * packs_of_item(dims, plan.reduce.packing) * kPackBytes;
    if (lanes == 1 && dims.channels_last) break;  // less than a sector of 32 bytes
    if (group_bytes > slice_bytes) continue;
    const int64_t most = std::clamp<int64_t>(slice_bytes / group_bytes, 1, cut.groups);
    plan.slices = static_cast<int>(ceil_div(cut.groups, most));
    plan.slice_groups = static_cast<int>(ceil_div(cut.groups, plan.slices));
    set_splits(cut, splits_for(cut, blocks, plan.slice_groups, 1));
    plan.reduce.cut = cut;
    plan.reduce.blocks = std::min<int64_t>(blocks, int64_t(plan.slice_groups) * cut.splits);
    plan.reduce.shared = work_bytes(dtype, dims, plan.reduce);
    plan.variant = Variant::sliced;
    return true;
  }
  return false;
}

bool plan_resident(const Dims& dims, DType dtype, const Device& device, int tensors, Plan& plan) {
  if (!plan.reduce.packing.vector) return false;
  Pass pass = plan.reduce;
  pass.cut = block_shape(dims, dtype, pass.packing, 4);
  WorkSplit& cut = pass.cut;
  const int64_t items = cut.items;
  // Two blocks a processor, so that one loads while the other waits; one where it must be.
  for (const int blocks : {2, 1}) {
    for (int cluster = 1; cluster <= device.cluster; cluster *= 2) {
      cut.chunk = ceil_div(ceil_div(items, cluster), cut.rows) * cut.rows;
      cut.splits = cluster;
      const size_t work = work_bytes(dtype, dims, pass);
      pass.shared = work + kept_bytes(dims, pass, tensors);
      if (pass.shared > static_cast<size_t>(device.shared_bytes / blocks - (blocks - 1) * 1024)) continue;
      const bool wider = cluster * 2 <= device.cluster && items > cut.chunk / 2 && cut.chunk > cut.rows;
      if (wider && int64_t(cut.groups) * cluster < device.processors) continue;
      pass.blocks = int64_t(cut.groups) * cluster;
      plan.reduce = pass;
      plan.keep_offset = work;
      plan.variant = Variant::resident;
      return true;
    }
  }
  return false;
}

[[noreturn]] void refuse(const char* variant) {
  throw std::invalid_argument(std::string("softgate: the variant '") + variant +
                              "' of the CUDA kernels cannot serve a call of this shape, dtype and "
                              "alignment on this device; 'automatic' can");
}

// The choice, of a plan whose first pass is one walk over everything. One read of every tensor beats
// two, where the channels can wait close by:
//   on chip, where a cluster holds a channel: in a contiguous layout whatever the number of channels,
//   in channels_last, whose clusters are few and far between, only where latency is all that counts;
//   in L2, where three slices of channels fit at once.
// Packs of one value and float64 are served by two passes, whatever the shape.
Plan choose(const Dims& dims, DType dtype, const Plan& twice, const Device& device, int tensors,
            Variant forced) {
  const int64_t bytes = dims.c * dims.count() * bytes_of(dtype);
  Plan resident = twice, sliced = twice;
  const bool can_stay = plan_resident(dims, dtype, device, tensors, resident);
  const bool can_slice = plan_sliced(dims, dtype, device, tensors, sliced);
  if (forced == Variant::resident && !can_stay) refuse("resident");
  if (forced == Variant::sliced && !can_slice) refuse("sliced");
  if (forced == Variant::resident) return resident;
  if (forced == Variant::sliced) return sliced;
  if (forced == Variant::two_pass) return twice;
  if (can_stay && (!dims.channels_last || bytes <= kSmallBytes)) return resident;
  if (can_slice) return sliced;
  return twice;
}

void check_dims(const Dims& d) {
  constexpr int64_t kMost = int64_t(1) << 31;
  if (d.n >= kMost || d.c >= kMost || d.plane() >= kMost) {
    throw std::invalid_argument(
        "softgate: the CUDA kernels take up to 2^31 - 1 samples, channels and pixels of an image, "
        "got (" + std::to_string(d.n) + ", " + std::to_string(d.c) + ", " + std::to_string(d.h) +
        ", " + std::to_string(d.w) + ")");
  }
}

bool empty(const Dims& dims) { return dims.count() * dims.c == 0; }

bool wants_norm_sums(const Backward& a) {
  return a.dz.given && (a.norm.training || a.dweight.given || a.dbias.given);
}

bool wants_gradients(const Backward& a) {
  bool any = a.dskip.given || a.dlow.given || a.dalpha.given;
  for (const Out& branch : a.dbranch) any = any || branch.given;
  return any;
}

// The sums need dz and y only: no low resolution, no branches.
Backward sums_alone(const Backward& a) {
  Backward sums = a;
  sums.source = Source{};
  sums.dy = {};
  sums.dskip = sums.dlow = sums.dalpha = {};
  return sums;
}

}  // namespace

Forward second_pass(const Forward& a) {
  if (!a.y.given) return a;
  Forward map = a;
  map.source = Source{};
  map.source.branches = 1;
  map.source.branch[0] = {a.y.data, true};
  map.source.width[0] = a.dims.c;
  map.y = {};
  return map;
}

Plan make_plan(const Forward& a, const Device& device, Variant forced) {
  check_dims(a.dims);
  Plan plan;
  if (empty(a.dims)) return plan;
  const Pass whole = whole_pass(a, device);
  if (!a.z.given || !a.norm.training) {
    plan.map = whole;
    return plan;
  }
  plan.reduce = whole;
  plan.variant = Variant::two_pass;
  plan = choose(a.dims, a.dtype, plan, device, 1, forced);
  if (plan.variant == Variant::resident) return plan;
  plan.workspace_bytes = 3 * accumulator_bytes(a.dtype) * plan.reduce.cut.splits * a.dims.c;
  if (plan.variant == Variant::two_pass) {
    plan.map = whole_pass(second_pass(a), device);
  } else {
    plan.map = a.y.given ? without_upsample(a.dims, a.dtype, plan.reduce) : plan.reduce;
  }
  return plan;
}

Plan make_plan(const Backward& a, const Device& device, Variant forced) {
  check_dims(a.dims);
  Plan plan;
  if (empty(a.dims)) return plan;
  const Pass whole = whole_pass(a, device);
  const size_t accumulator = accumulator_bytes(a.dtype);
  int norm_splits = 0, gate_splits = whole.cut.splits;
  if (wants_norm_sums(a)) {
    plan.reduce = whole;
    plan.variant = Variant::two_pass;
    // Where the statistics are fixed, sums and gradients have nothing to wait for in each other.
    plan = choose(a.dims, a.dtype, plan, device, 2, a.norm.training ? forced : Variant::two_pass);
    if (plan.variant == Variant::two_pass) plan.reduce = whole_pass(sums_alone(a), device);
    norm_splits = plan.variant == Variant::resident ? 0 : plan.reduce.cut.splits;
    if (plan.variant != Variant::two_pass) gate_splits = norm_splits;
    plan.norm_at = 2 * accumulator * a.dims.c;
  }
  const bool two_kernels = plan.variant == Variant::two_pass || plan.variant == Variant::one_pass;
  if (two_kernels && wants_gradients(a)) plan.map = whole;
  plan.gate_at = plan.norm_at + 2 * accumulator * norm_splits * a.dims.c;
  plan.workspace_bytes = plan.gate_at + (a.dalpha.given ? accumulator * gate_splits * a.dims.c : 0);
  return plan;
}

}  // namespace softgate::cuda
