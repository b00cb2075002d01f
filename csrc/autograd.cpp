// Autograd of the ops in C++, made from their schemas, for the compiled kernels and for the Triton kernels.
// softgate_ext/ops/autograd.py does the same without the extension, and explains what is saved. The tensors
// of a network's deep levels are small, and a Python version would take more time per call there than the
// kernels save.
#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/autograd/functions/utils.h>

#include <memory>

#include "checks.h"
#include "ops.h"

namespace softgate {
namespace {

using c10::OperatorHandle;
using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;
using torch::jit::Stack;

// The op of a name with its namespace. Backward ops are looked up in the same namespace.
OperatorHandle op_of(const std::string& name) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name.c_str(), "");
}

struct Op {
  OperatorHandle handle;
  Signature signature;

  explicit Op(const std::string& name) : handle(op_of(name)), signature(handle.schema()) {}
};

// A forward op and its backward op. If no loss depends on z, `without_z`, the backward of the op without a norm, is
// called instead.
struct Formula {
  Op forward, backward;
  std::unique_ptr<Op> without_z;

  explicit Formula(const std::string& name) : forward(name), backward(name + "_backward") {
    const size_t norm = name.find("_bn_relu");
    if (norm == std::string::npos) return;
    without_z = std::make_unique<Op>(name.substr(0, norm) + "_backward");
  }
};

Tensor defined(const OptionalTensor& t) { return t ? *t : Tensor(); }

// The values that a node stores beside its tensors.
struct Memory {
  int64_t formula, layout, training, relu, add, channels;
  std::vector<int64_t> split;
  double eps;

  Memory(const Formula& f, const Arguments& a)
      : formula(reinterpret_cast<int64_t>(&f)),
        layout(static_cast<int64_t>(a.tensor(Role::x).suggest_memory_format())),
        training(a.takes(Role::training) && a.flag(Role::training)),
        relu(a.takes(Role::relu) && a.flag(Role::relu)),
        add(a.takes(Role::mode) && a.text(Role::mode) == "add"),
        channels(channels_of(a.tensor(Role::x))),
        eps(a.takes(Role::eps) ? a.number(Role::eps) : 0) {
    if (!a.takes(Role::branches)) return;
    for (const IValue& b : a.list(Role::branches)) split.push_back(channels_of(b.toTensor()));
  }

  explicit Memory(AutogradContext* ctx) : eps(ctx->saved_data["eps"].toDouble()) {
    const auto n = ctx->saved_data["numbers"].toIntVector();
    formula = n[0], layout = n[1], training = n[2], relu = n[3], add = n[4], channels = n[5];
    split.assign(n.begin() + 6, n.end());
  }

  void save(AutogradContext* ctx) const {
    std::vector<int64_t> numbers{formula, layout, training, relu, add, channels};
    numbers.insert(numbers.end(), split.begin(), split.end());
    ctx->saved_data["numbers"] = std::move(numbers);
    ctx->saved_data["eps"] = eps;
  }

  // The incoming gradient in the layout of the output; expanded and transposed gradients are copied. The
  // layout of a batch of gradients (vmap) is not known here; the op copies each of them.
  IValue dense(const Tensor& gradient) const {
    if (!gradient.defined()) return {};
    constexpr c10::DispatchKeySet kBatched{c10::DispatchKey::Batched, c10::DispatchKey::FuncTorchBatched};
    if (gradient.key_set().has_any(kBatched)) return gradient;
    return gradient.contiguous(static_cast<at::MemoryFormat>(layout));
  }

 private:
  // size() would turn all sizes of a traced tensor into constants. The channels are one anyway.
  static int64_t channels_of(const Tensor& t) {
    return t.sym_size(1).guard_int(__FILE__, __LINE__);
  }
};

// The tensors that may require a gradient, in the order of the schema.
variable_list inputs_of(const Arguments& a) {
  variable_list inputs;
  inputs.reserve(kRoles);
  for (const Role role : a.signature().differentiable()) {
    if (role == Role::branches) {
      for (const IValue& b : a.list(role)) inputs.push_back(b.toTensor());
    } else if (OptionalTensor t = a.given(role)) {
      inputs.push_back(*std::move(t));
    }
  }
  return inputs;
}

class Node : public Function<Node> {
 public:
  // Calls the op below autograd, on the stack, and returns the outputs that a loss may depend on.
  static variable_list forward(AutogradContext* ctx, at::TensorList, const Formula* f, Stack* stack) {
    at::AutoDispatchBelowADInplaceOrView below;
    const Signature& signature = f->forward.signature;
    const Stack given(stack->end() - static_cast<int64_t>(signature.roles().size()), stack->end());
    const Arguments a(signature, given.data());
    f->forward.handle.callBoxed(stack);
    const bool summed = a.takes(Role::branches), normed = a.takes(Role::training);
    const size_t count = stack->size(), outputs = summed + normed;
    const size_t first = count - outputs - (normed ? 2 : 0);
    const Memory m(*f, a);
    const OptionalTensor alpha = a.given(Role::alpha);
    variable_list saved(normed ? kSaved : kMean);
    if (normed) {
      const bool training = m.training;
      saved[kY] = summed ? (*stack)[first].toTensor() : a.tensor(Role::x);
      saved[kMean] = training ? (*stack)[count - 2].toTensor() : a.tensor(Role::running_mean);
      saved[kVar] = training ? (*stack)[count - 1].toTensor() : a.tensor(Role::running_var);
      saved[kWeight] = defined(a.given(Role::weight));
      saved[kBias] = defined(a.given(Role::bias));
    }
    if (alpha && alpha->requires_grad()) saved[kX] = a.tensor(Role::x);
    saved[kAlpha] = defined(alpha);
    ctx->set_materialize_grads(false);
    ctx->save_for_backward(std::move(saved));
    m.save(ctx);
    variable_list results;
    for (size_t i = first; i < first + outputs; ++i) results.push_back((*stack)[i].toTensor());
    return results;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    const Memory m(ctx);
    const Formula& f = *reinterpret_cast<const Formula*>(m.formula);
    const Signature& signature = f.forward.signature;
    const bool summed = signature.takes(Role::branches);
    const Tensor dy = summed ? grads.front() : Tensor();
    const Tensor dz = signature.takes(Role::training) ? grads.back() : Tensor();

    // For each kind of input: their number, and whether one of them requires a gradient.
    std::array<size_t, kRoles> entries{};
    std::array<bool, kRoles> wanted{};
    size_t edges = 0;
    for (size_t k = 0; k < signature.differentiable().size(); ++k) {
      const Role role = signature.differentiable()[k];
      entries[k] = role == Role::branches ? m.split.size() : has(role, saved);
      for (size_t i = 0; i < entries[k]; ++i) wanted[k] |= ctx->needs_input_grad(edges++);
    }
    variable_list out(edges + kConstants);
    if (!dy.defined() && !dz.defined()) return out;

    const Op& op = dz.defined() || !signature.takes(Role::training) ? f.backward : *f.without_z;
    const size_t kinds = op.signature.differentiable().size();
    // Without a gate, x and a single branch (the first two inputs) have the same gradient, stored once.
    const bool shared = summed && !saved[kAlpha].defined() && m.split.size() == 1 && wanted[0];
    c10::List<bool> needs;
    needs.reserve(kinds);
    for (size_t k = 0; k < kinds; ++k) needs.push_back(wanted[k] && !(shared && k == 1));
    Stack stack;
    stack.reserve(kRoles);
    for (const Role role : op.signature.roles()) {
      stack.push_back(argument(role, m, saved, dy, dz, needs));
    }
    op.handle.callBoxed(stack);

    const at::ArrayRef<IValue> made = stack.back().toListRef();
    auto next = made.begin();
    size_t entry = 0;
    for (size_t k = 0; k < kinds; entry += entries[k++]) {
      for (size_t i = 0; wanted[k] && i < entries[k]; ++i) {
        out[entry + i] = shared && k == 1 ? out.front() : (next++)->toTensor();
      }
    }
    return out;
  }

 private:
  enum { kY, kX, kAlpha, kMean, kVar, kWeight, kBias, kSaved };  // from kMean on: only with a norm
  static constexpr size_t kConstants = 2;  // the arguments of forward after the tensors

  static bool has(Role role, const variable_list& saved) {
    switch (role) {
      case Role::alpha: return saved[kAlpha].defined();
      case Role::weight: return saved[kWeight].defined();
      case Role::bias: return saved[kBias].defined();
      default: return true;
    }
  }

  static IValue argument(Role role, const Memory& m, const variable_list& saved, const Tensor& dy,
                         const Tensor& dz, const c10::List<bool>& needs) {
    const auto tensor = [](const Tensor& t) { return t.defined() ? IValue(t) : IValue(); };
    switch (role) {
      case Role::dy: return m.dense(dy);
      case Role::dz: return m.dense(dz);
      case Role::y: return tensor(saved[kY]);
      case Role::x: return tensor(saved[kX]);
      case Role::alpha: return tensor(saved[kAlpha]);
      case Role::mean: return tensor(saved[kMean]);
      case Role::var: return tensor(saved[kVar]);
      case Role::weight: return tensor(saved[kWeight]);
      case Role::bias: return tensor(saved[kBias]);
      case Role::training: return m.training != 0;
      case Role::eps: return m.eps;
      case Role::relu: return m.relu != 0;
      case Role::channels: return m.channels;
      case Role::mode: return m.add ? "add" : "concat";
      case Role::split: return m.split;
      case Role::needs: return needs;
      default: TORCH_INTERNAL_ASSERT(false);
    }
  }
};

bool differentiates(const variable_list& inputs) {
  if (torch::autograd::compute_requires_grad(at::TensorList(inputs))) return true;
  for (const Tensor& t : inputs) {
    if (t._fw_grad(0).defined()) return true;  // the node then refuses forward-mode AD
  }
  return false;
}

class Autograd final : public c10::OperatorKernel {
 public:
  explicit Autograd(const std::string& name) : formula_(std::make_shared<Formula>(name)) {}

  void operator()(const OperatorHandle& op, c10::DispatchKeySet, Stack* stack) const {
    const Signature& signature = formula_->forward.signature;
    const Arguments a(signature, &(*stack)[stack->size() - signature.roles().size()]);
    if (a.takes(Role::training) && at::GradMode::is_enabled()) checks::statistics(a);
    const variable_list inputs = inputs_of(a);
    if (!differentiates(inputs)) {
      at::AutoDispatchBelowADInplaceOrView below;
      return op.callBoxed(stack);
    }
    variable_list outputs = Node::apply(at::TensorList(inputs), formula_.get(), stack);
    const size_t first = stack->size() - outputs.size() - (a.takes(Role::training) ? 2 : 0);
    for (size_t i = 0; i < outputs.size(); ++i) (*stack)[first + i] = std::move(outputs[i]);
  }

 private:
  std::shared_ptr<const Formula> formula_;
};

// The autograd of a backward op: its own gradient raises a clear error.
class NoSecondDerivative : public Function<NoSecondDerivative> {
 public:
  static variable_list forward(AutogradContext* ctx, at::TensorList inputs, const OperatorHandle* op,
                               Stack* stack) {
    at::AutoDispatchBelowADInplaceOrView below;
    const std::string name = op->schema().name();  // <namespace>::<op>_backward
    const size_t begin = name.find("::") + 2, end = name.size() - std::string("_backward").size();
    ctx->saved_data["op"] = name.substr(begin, end - begin);
    op->callBoxed(stack);
    return stack->back().toTensorVector();
  }

  static variable_list backward(AutogradContext* ctx, const variable_list&) {
    throw InputError("softgate::" + ctx->saved_data["op"].toStringRef() +
                     " has no second derivative: compute it under "
                     "softgate_ext.use_backend('reference')");
  }
};

void autograd_of_backward(const OperatorHandle& op, c10::DispatchKeySet, Stack* stack) {
  variable_list inputs;
  for (const auto& value : torch::jit::last(*stack, op.schema().arguments().size())) {
    if (value.isTensor() && value.toTensor().defined()) inputs.push_back(value.toTensor());
  }
  if (torch::autograd::compute_requires_grad(at::TensorList(inputs))) {
    variable_list grads = NoSecondDerivative::apply(at::TensorList(inputs), &op, stack);
    stack->back() = std::move(grads);
    return;
  }
  at::AutoDispatchBelowADInplaceOrView below;
  op.callBoxed(stack);
}

}  // namespace

torch::CppFunction autograd_of(const std::string& name) {
  if (op_of(name).schema().returns()[0].type()->kind() == c10::TypeKind::ListType) {
    return torch::CppFunction::makeFromBoxedFunction<&autograd_of_backward>();
  }
  return torch::CppFunction::makeFromBoxedFunctor(std::make_unique<Autograd>(name));
}

}  // namespace softgate
