// The pybind11 module. It registers the kernels of the ops that Python declared with the dispatcher, offers
// the same kernels as functions without autograd, and reports how it was built.
#include <ATen/core/LegacyTypeDispatch.h>
#include <torch/csrc/jit/python/pybind_utils.h>
#include <torch/library.h>
#include <torch/version.h>

#ifdef SOFTGATE_CUDA
#include <cuda_runtime_api.h>
#endif

#include "cpu/kernels.h"
#include "errors.h"
#include "ops.h"
#include "predictions.h"
#ifdef SOFTGATE_CUDA
#include "cuda/run.h"
#endif

namespace py = pybind11;

namespace softgate {
namespace {

// Registers an op of softgate_ext/ops/schema.py by its name, and adds it as a function of this module.
void serve(py::module_& m, const std::string& name) {
  constexpr auto kImpl = torch::Library::IMPL;
  static torch::Library library(kImpl, "softgate", std::nullopt, __FILE__, __LINE__);
  static torch::Library triton(kImpl, "softgate_triton", std::nullopt, __FILE__, __LINE__);
  const auto op = c10::Dispatcher::singleton().findSchemaOrThrow(("softgate::" + name).c_str(), "");
  const auto with_key = [&](c10::DispatchKey key, torch::CppFunction&& function) {
    library.impl(name.c_str(), torch::dispatch(key, std::move(function)));
  };
  const auto kernel = [&] {
    return torch::CppFunction::makeFromBoxedFunctor(std::make_unique<Kernel>(op.schema()));
  };
  with_key(c10::DispatchKey::CPU, kernel());
#ifdef SOFTGATE_CUDA
  with_key(c10::DispatchKey::CUDA, kernel());
#endif
  with_key(c10::DispatchKey::Autograd, autograd_of("softgate::" + name));
  // Python launches the Triton kernels; they have the same autograd node.
  triton.impl(name.c_str(),
              torch::dispatch(c10::DispatchKey::Autograd, autograd_of("softgate_triton::" + name)));
  const auto door = [op, direct = Kernel(op.schema())](const py::args& args, py::kwargs named) {
    std::vector<Tensor> into;
    if (named.contains("out")) into = named.attr("pop")("out").cast<std::vector<Tensor>>();
    auto stack = torch::jit::createStackForSchema(op.schema(), args, named, std::nullopt);
    {
      const py::gil_scoped_release released;
      const at::AutoDispatchBelowADInplaceOrView below;
      direct.run(stack, into);
    }
    return torch::jit::createPyObjectForStack(std::move(stack));
  };
  m.def(name.c_str(), door);
}

constexpr int64_t kLargest = int64_t{1} << 31;

// The kernel variants for a call, as dictionaries; `device` has the fields of Device in csrc/cuda/plan.h.
py::list predict(bool backward, const std::array<int64_t, 4>& size, int itemsize, bool channels_last,
                 const std::vector<int64_t>& split, int64_t low_channels, bool concat,
                 const py::dict& device) {
  SOFTGATE_CHECK(itemsize == 2 || itemsize == 4, "itemsize must be 2 or 4 bytes, got ", itemsize);
  SOFTGATE_CHECK(split.size() <= kMaxBranches, "split must have at most ", kMaxBranches,
                 " entries, got ", split.size());
  for (int64_t side : size) {
    SOFTGATE_CHECK(side > 0 && side < kLargest, "size must be four numbers from 1 to below 2^31, got ", side);
  }
  SOFTGATE_CHECK(low_channels >= 0 && low_channels < kLargest,
                 "low_channels must be from 0 to below 2^31, got ", low_channels);
  int64_t total = 0;
  for (int64_t width : split) {
    SOFTGATE_CHECK(width > 0 && width <= size[1], "split must be counts from 1 to ", size[1],
                   " channels, got ", width);
    total += width;
  }
  SOFTGATE_CHECK(split.empty() || total == size[1], "split must add up to ", size[1], " channels, got ",
                 total);
  const auto number = [&](const char* name) {
    SOFTGATE_CHECK(device.contains(name), "device must have the entry ", name);
    const double value = device[name].cast<double>();
    SOFTGATE_CHECK(value >= 0 && value < 1e18, "device must have numbers from 0 to below 1e18, got ", value,
                   " for ", name);
    return value;
  };
  const auto whole = [&](const char* name) {
    const double value = number(name);
    SOFTGATE_CHECK(value < kLargest, "device must have counts below 2^31, got ", value, " for ", name);
    return static_cast<int>(value);
  };
  const cuda::Device d{whole("processors"), static_cast<int64_t>(number("l2_bytes")),
                       whole("shared_bytes"), whole("cluster"), whole("cooperative"), number("clock"),
                       number("memory_rate")};
  SOFTGATE_CHECK(d.processors > 0 && d.clock > 0 && d.memory_rate > 0,
                 "device must have processors, clock and memory_rate above 0");
  const Dims dims{size[0], size[1], size[2], size[3], channels_last};
  py::list found;
  for (const Predicted& p : predictions(backward, dims, itemsize == 2 ? DType::bf16 : DType::f32, split,
                                        low_channels, concat, d)) {
    found.append(py::dict(py::arg("variant") = p.variant, py::arg("seconds") = p.seconds,
                          py::arg("bytes") = p.bytes, py::arg("launches") = p.launches,
                          py::arg("slices") = p.slices, py::arg("chosen") = p.chosen));
  }
  return found;
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
  const py::object input_error = py::module_::import("softgate_ext.errors").attr("InputError");
  InputError::type = input_error.inc_ref().ptr();
  m.def("build_info", &build_info);
  m.def("winograd_conv3x3", &winograd_conv3x3, py::arg("x"), py::arg("weight"), py::arg("scale"),
        py::arg("shift"), py::arg("bias"), py::arg("channels"), py::arg("groups"), py::arg("out"),
        py::call_guard<py::gil_scoped_release>());
  m.def("update_running", &update_running, py::call_guard<py::gil_scoped_release>());
  m.def("predictions", &predict, py::arg("backward"), py::arg("size"), py::arg("itemsize"),
        py::arg("channels_last"), py::arg("split"), py::arg("low_channels"), py::arg("concat"),
        py::arg("device"));
  m.def("serve", [m](const std::string& name) mutable { serve(m, name); });
#ifdef SOFTGATE_CUDA
  m.def("force_variant", &cuda::force_variant);
#endif
}

}  // namespace softgate
