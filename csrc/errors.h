// The error that is raised if an argument of the caller is invalid. Its message is one sentence. In Python it is
// softgate_ext.errors.InputError.
#pragma once

#include <c10/util/StringUtil.h>
#include <torch/csrc/Exceptions.h>

namespace softgate {

struct InputError : torch::PyTorchError {
  using torch::PyTorchError::PyTorchError;
  PyObject* python_type() override { return type; }
  inline static PyObject* type = PyExc_ValueError;  // the import of the module replaces it by InputError
};

}  // namespace softgate

// Throws an InputError if the condition is false. The other arguments are concatenated to its message.
#define SOFTGATE_CHECK(condition, ...) \
  if (!(condition)) throw ::softgate::InputError(c10::str(__VA_ARGS__))
