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

void launch_map(const Forward& a, const Device& device, Stream stream) {
  const Plan plan = plan_map(a, device);
  with_tiling(a.dtype, a.dims, plan.packing, [&](auto tiling) {
    using K = decltype(tiling);
    launch("forward_map", forward_map<K>, grid_of(a.dtype, a.dims, plan), stream, a, plan.cut);
  });
}

void launch_two_pass(const Forward& a, const Device& device, const Plan& plan, void* workspace,
                     Stream stream) {
  with_tiling(a.dtype, a.dims, plan.packing, [&](auto tiling) {
    using K = decltype(tiling);
    launch("forward_reduce", forward_reduce<K>, grid_of(a.dtype, a.dims, plan), stream, a, plan.cut,
           partials_of<K>(workspace));
    launch("forward_finish", forward_finish<typename K::A>, finish_grid(a.dims.c), stream, a,
           plan.cut.splits, partials_of<K>(workspace));
  });
  launch_map(second_pass(a), device, stream);
}

void launch_sliced(const Forward& a, const Plan& plan, void* workspace, Stream stream) {
  Grid grid = grid_of(a.dtype, a.dims, plan);
  grid.blocks = plan.blocks;
  grid.cooperative = true;
  const Slices slices{plan.slices, plan.slice_groups};
  const WorkSplit map_cut = a.y.given ? without_upsample(a.dims, a.dtype, plan) : plan.cut;
  with_vector_tiling(a.dtype, a.dims, plan.packing, [&](auto tiling) {
    using K = decltype(tiling);
    launch("forward_sliced", forward_sliced<K>, grid, stream, a, second_pass(a), plan.cut, map_cut,
           slices, partials_of<K>(workspace));
  });
}

void launch_resident(const Forward& a, const Plan& plan, Stream stream) {
  Grid grid = grid_of(a.dtype, a.dims, plan);
  const int work = static_cast<int>(grid.shared);
  grid.shared += kept_bytes(a.dims, plan, 1);
  grid.cluster = plan.cut.splits;
  with_vector_tiling(a.dtype, a.dims, plan.packing, [&](auto tiling) {
    using K = decltype(tiling);
    launch("forward_resident", forward_resident<K>, grid, stream, a, plan.cut, work);
  });
}

}  // namespace

size_t workspace_bytes(const Forward& a, const Device& device) {
  if (!a.z.given || !a.norm.training || a.dims.count() * a.dims.c == 0) return 0;
  const Plan plan = plan_statistics(a, device, forced_variant());
  if (plan.variant == Variant::resident) return 0;
  const size_t moments = a.dtype == DType::f64 ? sizeof(Moments<double>) : sizeof(Moments<float>);
  return moments * plan.cut.splits * a.dims.c;
}

void forward(const Forward& a, const Device& device, void* workspace, Stream stream) {
  check_dims(a.dims);
  if (a.dims.count() * a.dims.c == 0) return;
  if (!a.z.given || !a.norm.training) return launch_map(a, device, stream);
  const Plan plan = plan_statistics(a, device, forced_variant());
  switch (plan.variant) {
    case Variant::resident: return launch_resident(a, plan, stream);
    case Variant::sliced: return launch_sliced(a, plan, workspace, stream);
    default: return launch_two_pass(a, device, plan, workspace, stream);
  }
}

}  // namespace softgate::cuda
