// Launchers of the backward kernels.
#include "launch.cuh"
#include "resident.cuh"
#include "sliced.cuh"

namespace softgate::cuda {
namespace {

bool wants_norm_sums(const Backward& a) {
  return a.dz.given && (a.norm.training || a.dweight.given || a.dbias.given);
}

bool wants_gradients(const Backward& a) {
  bool any = a.dskip.given || a.dlow.given || a.dalpha.given;
  for (const Out& branch : a.dbranch) any = any || branch.given;
  return any;
}

// The workspace of a call: terms of every channel, then the partial sums of both kinds.
struct Layout {
  Plan statistics, map;
  size_t norm_at = 0, gate_at = 0, bytes = 0;

  Layout(const Backward& a, const Device& device) : map(plan_map(a, device)) {
    const size_t accumulator = a.dtype == DType::f64 ? 8 : 4;
    int norm_splits = 0, gate_splits = a.dalpha.given ? map.cut.splits : 0;
    if (wants_norm_sums(a)) {
      // Where the statistics are fixed, sums and gradients have nothing to wait for in each other.
      const Variant forced = a.norm.training ? forced_variant() : Variant::two_pass;
      statistics = plan_statistics(a, device, forced);
      norm_at = 2 * accumulator * a.dims.c;
      norm_splits = statistics.variant == Variant::resident ? 0 : statistics.cut.splits;
      if (statistics.variant == Variant::resident) gate_splits = 0;
      if (statistics.variant == Variant::sliced && a.dalpha.given) gate_splits = norm_splits;
    }
    gate_at = norm_at + 2 * accumulator * norm_splits * a.dims.c;
    bytes = gate_at + accumulator * gate_splits * a.dims.c;
  }

  template <class S>
  S* at(void* workspace, size_t offset) const {
    return reinterpret_cast<S*>(static_cast<char*>(workspace) + offset);
  }
};

void launch_sums(const Backward& a, const Layout& layout, void* workspace, Stream stream) {
  const Plan& plan = layout.statistics;
  with_tiling(a.dtype, a.dims, plan.packing, [&](auto tiling) {
    using K = decltype(tiling);
    using A = typename K::A;
    if constexpr (!K::kUpsample2x && !K::kHalfPacks) {
      auto* partials = layout.at<NormSums<A>>(workspace, layout.norm_at);
      launch("backward_reduce", backward_reduce<K>, grid_of(a.dtype, a.dims, plan), stream, a,
             plan.cut, partials);
      launch("backward_finish_norm", backward_finish_norm<A>, finish_grid(a.dims.c), stream, a,
             plan.cut.splits, partials, layout.at<NormGradTerms<A>>(workspace, 0));
    }
  });
}

void launch_map(const Backward& a, const Layout& layout, void* workspace, Stream stream) {
  const Plan& plan = layout.map;
  with_tiling(a.dtype, a.dims, plan.packing, [&](auto tiling) {
    using K = decltype(tiling);
    using A = typename K::A;
    const bool terms = a.dz.given && a.norm.training;
    auto* partials = layout.at<GateSum<A>>(workspace, layout.gate_at);
    launch("backward_map", backward_map<K>, grid_of(a.dtype, a.dims, plan), stream, a, plan.cut,
           terms ? layout.at<NormGradTerms<A>>(workspace, 0) : nullptr, partials);
    if (!a.dalpha.given) return;
    launch("backward_finish_gate", backward_finish_gate<A>, finish_grid(a.source.skip_channels),
           stream, a, plan.cut.splits, partials);
  });
}

void launch_sliced(const Backward& a, const Layout& layout, void* workspace, Stream stream) {
  const Plan& plan = layout.statistics;
  Grid grid = grid_of(a.dtype, a.dims, plan);
  grid.blocks = plan.blocks;
  grid.cooperative = true;
  const Slices slices{plan.slices, plan.slice_groups};
  with_vector_tiling(a.dtype, a.dims, plan.packing, [&](auto tiling) {
    using K = decltype(tiling);
    using A = typename K::A;
    launch("backward_sliced", backward_sliced<K>, grid, stream, a, plan.cut, slices,
           layout.at<NormSums<A>>(workspace, layout.norm_at), layout.at<NormGradTerms<A>>(workspace, 0),
           layout.at<GateSum<A>>(workspace, layout.gate_at));
  });
}

void launch_resident(const Backward& a, const Layout& layout, void* workspace, Stream stream) {
  const Plan& plan = layout.statistics;
  Grid grid = grid_of(a.dtype, a.dims, plan);
  const int work = static_cast<int>(grid.shared);
  grid.shared += kept_bytes(a.dims, plan, 2);
  grid.cluster = plan.cut.splits;
  with_vector_tiling(a.dtype, a.dims, plan.packing, [&](auto tiling) {
    using K = decltype(tiling);
    launch("backward_resident", backward_resident<K>, grid, stream, a, plan.cut, work,
           layout.at<NormGradTerms<typename K::A>>(workspace, 0));
  });
}

}  // namespace

size_t workspace_bytes(const Backward& a, const Device& device) {
  return a.dims.count() * a.dims.c == 0 ? 0 : Layout(a, device).bytes;
}

void backward(const Backward& a, const Device& device, void* workspace, Stream stream) {
  check_dims(a.dims);
  if (a.dims.count() * a.dims.c == 0) return;
  const Layout layout(a, device);
  if (wants_norm_sums(a)) {
    if (layout.statistics.variant == Variant::resident) {
      return launch_resident(a, layout, workspace, stream);
    }
    if (layout.statistics.variant == Variant::sliced) {
      return launch_sliced(a, layout, workspace, stream);
    }
    launch_sums(a, layout, workspace, stream);
  }
  if (wants_gradients(a)) launch_map(a, layout, workspace, stream);
}

}  // namespace softgate::cuda
