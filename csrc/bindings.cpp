// The pybind11 module: importing it registers the kernels with the dispatcher; besides, it offers the
// same C++ functions directly (no autograd) and tells how it was built.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <torch/csrc/utils/pybind.h>
#include <torch/version.h>

#ifdef SOFTGATE_CUDA
#include <cuda_runtime_api.h>
#endif

#include "cpu/kernels.h"
#include "ops.h"
#ifdef SOFTGATE_CUDA
#include "cuda/run.h"
#endif

namespace py = pybind11;

namespace softgate {
namespace {

// The lists of an op as Python gives them.
template <class T>
struct FromPython {
  using type = std::remove_cvref_t<T>;
  static const type& get(const type& value) { return value; }
};
template <>
struct FromPython<at::TensorList> {
  using type = std::vector<Tensor>;
  static const type& get(const type& value) { return value; }
};
template <>
struct FromPython<const Needs&> {
  using type = std::vector<bool>;
  static Needs get(const type& value) {
    Needs list;
    for (bool need : value) list.push_back(need);
    return list;
  }
};

template <class Result, class... Args>
void define(py::module_& m, const char* name, Result (*op)(Args...)) {
  m.def(name, [op](const typename FromPython<Args>::type&... args) {
    return op(FromPython<Args>::get(args)...);
  });
}

py::dict build_info() {
  py::dict info;
  info["torch"] = TORCH_VERSION;
  info["compiler"] = __VERSION__;
  info["cpu"] = cpu::instruction_set();
#ifdef SOFTGATE_CUDA
  info["cuda"] = std::to_string(CUDART_VERSION / 1000) + "." + std::to_string(CUDART_VERSION % 1000 / 10);
#else
  info["cuda"] = py::none();
#endif
  return info;
}

}  // namespace

PYBIND11_MODULE(_C, m) {
  m.doc() = "Compiled kernels of softgate_ext; use softgate_ext.ops instead.";
  m.def("build_info", &build_info);
#ifdef SOFTGATE_CUDA
  m.def("force_variant", &cuda::force_variant);
#endif
  define(m, "gated_residual", &gated_residual);
  define(m, "gated_residual_backward", &gated_residual_backward);
  define(m, "gated_residual_bn_relu", &gated_residual_bn_relu);
  define(m, "gated_residual_bn_relu_backward", &gated_residual_bn_relu_backward);
  define(m, "bn_relu", &bn_relu);
  define(m, "bn_relu_backward", &bn_relu_backward);
  define(m, "skip_merge", &skip_merge);
  define(m, "skip_merge_backward", &skip_merge_backward);
  define(m, "skip_merge_bn_relu", &skip_merge_bn_relu);
  define(m, "skip_merge_bn_relu_backward", &skip_merge_bn_relu_backward);
}

}  // namespace softgate
