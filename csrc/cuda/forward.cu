// Launchers of the forward kernels.
#include "launch.cuh"
#include "resident.cuh"
#include "sliced.cuh"

namespace softgate::cuda {
namespace {

template <class K>
Moments<typename K::A>* partials_of(void* workspace) {
  return static_cast<Moments<typename K::A>*>(workspace);
}

// Whether the call only computes z from one tensor. The second of two passes is such a call, and bn_relu in
// evaluation.
bool normalises_alone(const Forward& a) {
  return a.z.given && !a.y.given && a.source.branches == 1 && !a.source.skip.given && !a.source.low.given;
}

void launch_map(const Pass& pass, const Forward& a, Stream stream) {
  with_tiling(a.dtype, a.dims, pass.packing, [&](auto tiling) {
    using K = decltype(tiling);
    if constexpr (!K::kUpsample2x && !K::kHalfPacks) {
      if (normalises_alone(a)) {
        return launch_kernel<forward_normalise<K>>("forward_normalise", grid_of(pass), stream, a, pass.cut);
      }
    }
    launch_kernel<forward_map<K>>("forward_map", grid_of(pass), stream, a, pass.cut);
  });
}

void launch_two_pass(const Plan& plan, const Forward& a, void* workspace, Stream stream) {
  const Pass& pass = plan.reduce;
  with_tiling(a.dtype, a.dims, pass.packing, [&](auto tiling) {
    using K = decltype(tiling);
    launch_kernel<forward_reduce<K>>("forward_reduce", grid_of(pass), stream, a, pass.cut,
                                     partials_of<K>(workspace));
    launch_kernel<forward_finish<typename K::A>>("forward_finish", finish_grid(a.dims.c), stream, a,
                                                 pass.cut.splits, partials_of<K>(workspace));
  });
  launch_map(plan.map, second_pass(a), stream);
}

void launch_sliced(const Plan& plan, const Forward& a, void* workspace, Stream stream) {
  Grid grid = grid_of(plan.reduce);
  grid.cooperative = true;
  const Slices slices{plan.slices, plan.slice_groups};
  with_tiling(a.dtype, a.dims, plan.reduce.packing, [&](auto tiling) {
    using K = decltype(tiling);
    if constexpr (K::kLanes > 1) {
      launch_kernel<forward_sliced<K>>("forward_sliced", grid, stream, a, second_pass(a),
                                       plan.reduce.cut, plan.map.cut, slices,
                                       partials_of<K>(workspace));
    }
  });
}

void launch_resident(const Plan& plan, const Forward& a, Stream stream) {
  const Pass& pass = plan.reduce;
  Grid grid = grid_of(pass);
  grid.cluster = pass.cut.splits;
  with_tiling(a.dtype, a.dims, pass.packing, [&](auto tiling) {
    using K = decltype(tiling);
    if constexpr (K::kLanes > 1) {
      launch_kernel<forward_resident<K>>("forward_resident", grid, stream, a, pass.cut,
                                         static_cast<int>(plan.keep_offset));
    }
  });
}

}  // namespace

void launch(const Plan& plan, const Forward& a, void* workspace, Stream stream) {
  switch (plan.variant) {
    case Variant::resident: return launch_resident(plan, a, stream);
    case Variant::sliced: return launch_sliced(plan, a, workspace, stream);
    case Variant::two_pass: return launch_two_pass(plan, a, workspace, stream);
    default:
      if (plan.map.blocks > 0) launch_map(plan.map, a, stream);
  }
}

}  // namespace softgate::cuda
