// Where the values of a tensor lie.
#pragma once

#include <ATen/core/Tensor.h>

namespace softgate {

using at::Tensor;

// The memory that a kernel may read: a fake tensor has none, nor has one whose storage was freed, and a
// view that stands for its negative has the wrong values there.
inline bool has_memory(const Tensor& t) {
  return t.has_storage() &&
         t.storage().unsafeGetStorageImpl()->_mutable_data_ptr_no_checks().get() != nullptr;
}

// Whether the values lie at addresses that a load of one may have. A tensor made of foreign bytes may not.
inline bool is_aligned(const Tensor& t) {
  return reinterpret_cast<uintptr_t>(t.const_data_ptr()) % t.element_size() == 0;
}

// The tensor, or a copy of one that lies off its alignment.
inline Tensor aligned(const Tensor& t) { return is_aligned(t) ? t : t.clone(); }

}  // namespace softgate
