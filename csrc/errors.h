// The refusal of a caller's input: one sentence, softgate_ext.errors.InputError in Python.
#pragma once

#include <c10/util/StringUtil.h>
#include <torch/csrc/Exceptions.h>

namespace softgate {

struct InputError : torch::PyTorchError {
  using torch::PyTorchError::PyTorchError;
  PyObject* python_type() override { return type; }
  inline static PyObject* type = PyExc_ValueError;  // until the module is imported
};

}  // namespace softgate

// Unless the condition holds, refuses with the rest as one sentence.
#define SOFTGATE_CHECK(condition, ...) \
  if (!(condition)) throw ::softgate::InputError(c10::str(__VA_ARGS__))
