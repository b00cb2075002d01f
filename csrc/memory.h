// Whether a kernel can access the memory of a tensor.
#pragma once

#include <ATen/core/Tensor.h>

namespace softgate {

using at::Tensor;

// Whether a tensor has memory. A fake tensor has none, and neither has a tensor whose storage was freed. A negated
// view (is_neg) has memory with values of the wrong sign; callers check for it separately.
inline bool has_memory(const Tensor& t) {
  return t.has_storage() &&
         t.storage().unsafeGetStorageImpl()->_mutable_data_ptr_no_checks().get() != nullptr;
}

// Whether the address of the first value is a multiple of the size of a value, as every load requires. A
// tensor made from a foreign buffer (torch.frombuffer) may violate this.
inline bool is_aligned(const Tensor& t) {
  return reinterpret_cast<uintptr_t>(t.const_data_ptr()) % t.element_size() == 0;
}

// The tensor itself if it is aligned, else an aligned copy.
inline Tensor aligned(const Tensor& t) { return is_aligned(t) ? t : t.clone(); }

}  // namespace softgate
