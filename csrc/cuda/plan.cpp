#include "plan.h"

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <string>

#include "model.h"
#include "pass.h"

namespace softgate::cuda {
namespace {

constexpr int kSlicesUnderWay = 3;  // slices in L2 at the same time, see sliced.cuh
constexpr int kMostLanes = 8;  // of a thread block: slices of few channels need narrow groups

// Plans the sliced variant, which keeps `tensors` tensors of a few slices of channels in L2 between the two looks.
// They may fill half of L2; the other half is left for tensors that are read or written once. If the whole tensors
// fit there is one slice, else as few as possible. Returns false if a slice of the narrowest group does not fit.
bool plan_sliced(const Dims& dims, DType dtype, const Device& device, int tensors, Plan& plan) {
  const int64_t blocks =
      int64_t(device.processors) * std::min(device.cooperative, kBlocksPerProcessor);
  if (blocks == 0 || !plan.reduce.packing.vector) return false;
  const int64_t waits = device.l2_bytes / 2 / tensors;
  plan.slices = 0;
  for (int lanes = kMostLanes; lanes >= kLeastLanes; lanes /= 2) {
    WorkSplit cut = block_shape(dims, dtype, plan.reduce.packing, dims.channels_last ? lanes : 1);
    const int64_t group_bytes =
        cut.items * cut.lanes * packs_of_item(dims, plan.reduce.packing) * kPackBytes;
    const bool whole = group_bytes * cut.groups <= waits;
    const int64_t most = whole ? cut.groups : waits / kSlicesUnderWay / group_bytes;
    if (most == 0) continue;
    const int slices = static_cast<int>(ceil_div(cut.groups, most));
    if (plan.slices > 0 && slices >= plan.slices) continue;
    plan.slices = slices;
    plan.slice_groups = static_cast<int>(ceil_div(cut.groups, slices));
    set_splits(cut, splits_for(cut, blocks, plan.slice_groups, 1));
    plan.reduce.cut = cut;
    plan.reduce.blocks = std::min<int64_t>(blocks, int64_t(plan.slice_groups) * cut.splits);
  }
  if (plan.slices == 0) return false;
  plan.reduce.shared = work_bytes(dtype, dims, plan.reduce);
  plan.variant = Variant::sliced;
  return true;
}

// Plans the resident variant, in which a cluster keeps all values of a group of channels in the shared memory of its
// thread blocks. In channels_last a group has the least number of lanes, so that it has the fewest bytes. Returns
// false if a group does not fit.
bool plan_resident(const Dims& dims, DType dtype, const Device& device, int tensors, Plan& plan) {
  if (!plan.reduce.packing.vector) return false;
  Pass pass = plan.reduce;
  pass.cut = block_shape(dims, dtype, pass.packing, kLeastLanes);
  WorkSplit& cut = pass.cut;
  const int64_t items = cut.items;
  // Two thread blocks for each multiprocessor, so that one can load while the other waits for its sums. One thread
  // block if two do not fit. CUDA reserves 1 KiB of shared memory for each.
  for (const int blocks : {2, 1}) {
    for (int cluster = 1; cluster <= device.cluster; cluster *= 2) {
      cut.chunk = ceil_div(ceil_div(items, cluster), cut.rows) * cut.rows;
      cut.splits = cluster;
      const size_t work = work_bytes(dtype, dims, pass);
      pass.shared = work + kept_bytes(dims, pass, tensors);
      if (pass.shared > static_cast<size_t>(device.shared_bytes / blocks - (blocks - 1) * 1024)) continue;
      // A wider cluster, if there are too few thread blocks for all multiprocessors and each still gets a row.
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

void check_dims(const Dims& d, DType dtype) {
  constexpr int64_t kMost = int64_t(1) << 31;
  if (d.channels_last && d.c * bytes_of(dtype) >= 2 * kMost) {
    throw std::invalid_argument(
        "softgate: the CUDA kernels take channels_last tensors of less than 2^32 bytes in a pixel, got " +
        std::to_string(d.c) + " channels of " + std::to_string(bytes_of(dtype)) + " bytes");
  }
  if (d.n >= kMost || d.c >= kMost || d.plane() >= kMost) {
    throw std::invalid_argument(
        "softgate: the CUDA kernels take up to 2^31 - 1 samples, channels and pixels of an image, "
        "got (" + std::to_string(d.n) + ", " + std::to_string(d.c) + ", " + std::to_string(d.h) +
        ", " + std::to_string(d.w) + ")");
  }
}

[[noreturn]] void refuse(Variant variant) {
  const std::string name = variant == Variant::resident ? "resident" : "sliced";
  throw std::invalid_argument("softgate: the variant '" + name +
                              "' of the CUDA kernels cannot serve a call of this shape, dtype and "
                              "alignment on this device; use 'automatic' instead");
}

// Whether the call needs sums over each channel before it can compute its other results.
bool has_sums(const Forward& a) { return a.z.given && a.norm.training; }

bool has_sums(const Backward& a) {
  return a.dz.given && (a.norm.training || a.dweight.given || a.dbias.given);
}

bool wants_gradients(const Backward& a) {
  bool any = a.dskip.given || a.dlow.given || a.dalpha.given;
  for (const Out& branch : a.dbranch) any = any || branch.given;
  return any;
}

// The number of tensors that are read again after the sums are known: y in the forward, dz and y in the backward.
int waiting(const Forward&) { return 1; }
int waiting(const Backward&) { return 2; }

// The part of a backward call that computes the sums. It reads only dz and y, and writes no gradient of an
// activation.
Backward sums_alone(const Backward& a) {
  Backward sums = a;
  sums.source = Source{};
  sums.dy = {};
  sums.dskip = sums.dlow = sums.dalpha = {};
  return sums;
}

// Completes a plan whose `reduce` is a pass over all tensors of the call: sets `map`, and the workspace.
void complete(Plan& plan, const Forward& a, const Device& device) {
  const size_t moments = 3 * accumulator_bytes(a.dtype) * a.dims.c;
  if (plan.variant == Variant::one_pass) {
    plan.map = plan.reduce;
    plan.reduce = {};
  } else if (plan.variant == Variant::two_pass) {
    plan.map = whole_pass(second_pass(a), device);
  } else if (plan.variant == Variant::sliced) {
    plan.map = a.y.given ? without_upsample(a.dims, a.dtype, plan.reduce) : plan.reduce;
  }
  if (plan.variant != Variant::resident) plan.workspace_bytes = moments * plan.reduce.cut.splits;
  if (plan.variant == Variant::one_pass) plan.workspace_bytes = 0;
}

void complete(Plan& plan, const Backward& a, const Device& device) {
  const size_t channel = accumulator_bytes(a.dtype) * a.dims.c;
  const Pass whole = plan.reduce;
  int norm_splits = 0, gate_splits = whole.cut.splits;
  if (plan.variant == Variant::one_pass) plan.reduce = {};
  if (plan.variant == Variant::two_pass) plan.reduce = whole_pass(sums_alone(a), device);
  if (plan.variant == Variant::two_pass || plan.variant == Variant::one_pass) {
    if (wants_gradients(a)) plan.map = whole;
  }
  if (plan.variant == Variant::resident) gate_splits = 0;
  if (plan.variant == Variant::two_pass || plan.variant == Variant::sliced) {
    norm_splits = plan.reduce.cut.splits;
  }
  if (plan.variant != Variant::one_pass) plan.norm_at = 2 * channel;
  plan.gate_at = plan.norm_at + 2 * channel * norm_splits;
  plan.workspace_bytes = plan.gate_at + (a.dalpha.given ? channel * gate_splits : 0);
}

// The plans of all variants that can run a call. A call without sums has one pass. A call with batch statistics can
// always run in two passes; resident and sliced, which read each tensor once, need packs of 16 bytes (so not
// float64). In evaluation the gradients do not depend on the sums for weight and bias, so those are a separate pass.
template <class Call>
std::vector<Plan> plans_of(const Call& a, const Device& device) {
  check_dims(a.dims, a.dtype);
  std::vector<Plan> plans;
  if (a.dims.count() * a.dims.c == 0) return plans;
  Plan plan;
  plan.reduce = whole_pass(a, device);
  plan.variant = has_sums(a) ? Variant::two_pass : Variant::one_pass;
  plans.push_back(plan);
  if (has_sums(a) && a.norm.training) {
    Plan once = plan;
    if (plan_resident(a.dims, a.dtype, device, waiting(a), once)) plans.push_back(once);
    once = plan;
    if (plan_sliced(a.dims, a.dtype, device, waiting(a), once)) plans.push_back(once);
  }
  for (Plan& each : plans) complete(each, a, device);
  return plans;
}

template <class Call>
Plan best_of(const Call& a, const Device& device, Variant forced) {
  const std::vector<Plan> plans = plans_of(a, device);
  if (plans.empty()) return {};
  const bool free = forced == Variant::automatic || !a.norm.training || !has_sums(a);
  const Plan* best = nullptr;
  double least = std::numeric_limits<double>::infinity();
  for (const Plan& plan : plans) {
    if (!free && plan.variant != forced) continue;
    const double seconds = plans.size() == 1 ? 0 : predict(plan, a, device).seconds;
    if (seconds < least) {
      least = seconds;
      best = &plan;
    }
  }
  if (best == nullptr) refuse(forced);
  return *best;
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

std::vector<Plan> make_plans(const Forward& a, const Device& device) { return plans_of(a, device); }

std::vector<Plan> make_plans(const Backward& a, const Device& device) { return plans_of(a, device); }

Plan make_plan(const Forward& a, const Device& device, Variant forced) {
  return best_of(a, device, forced);
}

Plan make_plan(const Backward& a, const Device& device, Variant forced) {
  return best_of(a, device, forced);
}

}  // namespace softgate::cuda
