// Launchers of the backward kernels.
#include "launch.cuh"
#include "resident.cuh"
#include "sliced.cuh"

namespace softgate::cuda {
namespace {

// The parts of the workspace, through which the kernels of a call pass on their results (offsets: Plan of plan.h).
template <class A>
struct Workspace {
  NormGradTerms<A>* terms;
  NormSums<A>* norm;
  GateSum<A>* gate;

  Workspace(const Plan& plan, void* bytes)
      : terms(at<NormGradTerms<A>>(bytes, 0)),
        norm(at<NormSums<A>>(bytes, plan.norm_at)),
        gate(at<GateSum<A>>(bytes, plan.gate_at)) {}

 private:
  template <class S>
  static S* at(void* bytes, size_t offset) {
    return reinterpret_cast<S*>(static_cast<char*>(bytes) + offset);
  }
};

void launch_sums(const Plan& plan, const Backward& a, void* workspace, Stream stream) {
  const Pass& pass = plan.reduce;
  with_tiling(a.dtype, a.dims, pass.packing, [&](auto tiling) {
    using K = decltype(tiling);
    using A = typename K::A;
    if constexpr (!K::kUpsample2x && !K::kHalfPacks) {
      const Workspace<A> to(plan, workspace);
      launch_kernel<backward_reduce<K>>("backward_reduce", grid_of(pass), stream, a, pass.cut, to.norm);
      launch_kernel<backward_finish_norm<A>>("backward_finish_norm", finish_grid(a.dims.c), stream, a,
                                             pass.cut.splits, to.norm, to.terms);
    }
  });
}

void launch_map(const Plan& plan, const Backward& a, void* workspace, Stream stream) {
  const Pass& pass = plan.map;
  with_tiling(a.dtype, a.dims, pass.packing, [&](auto tiling) {
    using K = decltype(tiling);
    using A = typename K::A;
    const Workspace<A> from(plan, workspace);
    const NormGradTerms<A>* terms = a.dz.given && a.norm.training ? from.terms : nullptr;
    launch_kernel<backward_map<K>>("backward_map", grid_of(pass), stream, a, pass.cut, terms, from.gate);
    if (!a.dalpha.given) return;
    launch_kernel<backward_finish_gate<A>>("backward_finish_gate", finish_grid(a.source.skip_channels),
                                           stream, a, pass.cut.splits, from.gate);
  });
}

void launch_sliced(const Plan& plan, const Backward& a, void* workspace, Stream stream) {
  const Pass& pass = plan.reduce;
  Grid grid = grid_of(pass);
  grid.cooperative = true;
  const Slices slices{plan.slices, plan.slice_groups};
  with_tiling(a.dtype, a.dims, pass.packing, [&](auto tiling) {
    using K = decltype(tiling);
    if constexpr (K::kLanes > 1) {
      const Workspace<typename K::A> sums(plan, workspace);
      launch_kernel<backward_sliced<K>>("backward_sliced", grid, stream, a, pass.cut, slices, sums.norm,
                                        sums.terms, sums.gate);
    }
  });
}

void launch_resident(const Plan& plan, const Backward& a, void* workspace, Stream stream) {
  const Pass& pass = plan.reduce;
  Grid grid = grid_of(pass);
  grid.cluster = pass.cut.splits;
  with_tiling(a.dtype, a.dims, pass.packing, [&](auto tiling) {
    using K = decltype(tiling);
    if constexpr (K::kLanes > 1) {
      launch_kernel<backward_resident<K>>("backward_resident", grid, stream, a, pass.cut,
                                          static_cast<int>(plan.keep_offset),
                                          Workspace<typename K::A>(plan, workspace).terms);
    }
  });
}

}  // namespace

void launch(const Plan& plan, const Backward& a, void* workspace, Stream stream) {
  if (plan.variant == Variant::resident) return launch_resident(plan, a, workspace, stream);
  if (plan.variant == Variant::sliced) return launch_sliced(plan, a, workspace, stream);
  if (plan.reduce.blocks > 0) launch_sums(plan, a, workspace, stream);
  if (plan.map.blocks > 0) launch_map(plan, a, workspace, stream);
}

}  // namespace softgate::cuda
