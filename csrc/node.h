// What the autograd nodes of the ops share: what a node remembers, and which inputs want a gradient.
#pragma once

#include <torch/csrc/autograd/custom_function.h>

#include <vector>

#include "ops.h"

namespace softgate {

using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

inline OptionalTensor optional(const Tensor& t) { return t.defined() ? OptionalTensor(t) : std::nullopt; }

inline Tensor defined(const OptionalTensor& t) { return t ? *t : Tensor(); }

inline bool wants(const OptionalTensor& t) { return t && t->requires_grad(); }

// What a node remembers beside its tensors.
struct Memory {
  int64_t layout, training, relu, running, add, channels;
  std::vector<int64_t> split;
  double eps;

  void save(AutogradContext* ctx) const {
    std::vector<int64_t> numbers{layout, training, relu, running, add, channels};
    numbers.insert(numbers.end(), split.begin(), split.end());
    ctx->saved_data["numbers"] = numbers;
    ctx->saved_data["eps"] = eps;
  }

  static Memory load(AutogradContext* ctx) {
    const auto n = ctx->saved_data["numbers"].toIntVector();
    return {n[0], n[1], n[2], n[3], n[4], n[5], {n.begin() + 6, n.end()},
            ctx->saved_data["eps"].toDouble()};
  }

  const char* mode() const { return add ? "add" : "concat"; }

  // The incoming gradient in the output's layout: expanded and transposed ones are copied.
  Tensor dense(const Tensor& gradient) const {
    return gradient.defined() ? gradient.contiguous(static_cast<at::MemoryFormat>(layout)) : gradient;
  }
};

inline Memory remember(const Tensor& x, at::TensorList branches) {
  // size() of a traced tensor would make constants of all its sizes; the channels are one anyway.
  const auto channels = [](const Tensor& t) { return t.sym_size(1).guard_int(__FILE__, __LINE__); };
  Memory m{static_cast<int64_t>(x.suggest_memory_format()), 0, 0, 0, 0, channels(x), {}, 0};
  for (const Tensor& b : branches) m.split.push_back(channels(b));
  return m;
}

// Walks the inputs in order: asks which want a gradient, and lays the list of a backward op out again as
// one entry an input.
class Inputs {
 public:
  explicit Inputs(AutogradContext* ctx) : ctx_(ctx) {}

  void tensor(bool given) { add(given ? 1 : 0, 1, given ? 1 : 0); }
  void tensors(size_t count) { add(count, count, count); }
  void unwanted(bool given) {
    if (given) ++edge_;
    slots_.push_back({1, 0, false});
  }
  void constants(size_t count) { slots_.push_back({count, 0, false}); }

  // Without a gate, x and a lone branch (the first two inputs) have one gradient: it is written once.
  void share_first_two(const Memory& m, bool gated) {
    if (gated || m.split.size() != 1 || !slots_[0].wanted || !slots_[1].wanted) return;
    needs_[1] = false;
    slots_[1].shared = true;
  }

  const Needs& needs() const { return needs_; }

  variable_list spread(const std::vector<Tensor>& grads) const {
    variable_list out;
    auto next = grads.begin();
    for (const Slot& slot : slots_) {
      for (size_t i = 0; i < slot.entries; ++i) {
        if (slot.shared) {
          out.push_back(out.front());
        } else {
          out.push_back(slot.wanted && i < slot.tensors ? *next++ : Variable());
        }
      }
    }
    return out;
  }

 private:
  struct Slot {
    size_t entries, tensors;
    bool wanted;
    bool shared = false;
  };

  void add(size_t edges, size_t entries, size_t tensors) {
    bool wanted = false;
    for (size_t i = 0; i < edges; ++i) wanted |= ctx_->needs_input_grad(edge_++);
    needs_.push_back(wanted);
    slots_.push_back({entries, tensors, wanted});
  }

  AutogradContext* ctx_;
  size_t edge_ = 0;
  Needs needs_;
  std::vector<Slot> slots_;
};

inline Needs first(const Needs& needs, size_t count) {
  Needs some;
  for (size_t i = 0; i < count; ++i) some.push_back(needs[i]);
  return some;
}

inline void finish(AutogradContext* ctx, const Memory& memory, variable_list saved) {
  ctx->set_materialize_grads(false);
  ctx->save_for_backward(std::move(saved));
  memory.save(ctx);
}

}  // namespace softgate
