// The functions of one instruction set that dispatch.cpp calls. Included like vec.h.

template <class F>
SG_INLINE void by_dtype(DType dtype, const F& f) {
  switch (dtype) {
    case DType::f32: return f(float{});
    case DType::f64: return f(double{});
    case DType::f16: return f(c10::Half{});
    case DType::bf16: return f(c10::BFloat16{});
  }
}

void forward(const Forward& args) {
  by_dtype(args.dtype, [&](auto type) { ForwardPass<decltype(type)>(args).run(); });
}

void backward(const Backward& args) {
  by_dtype(args.dtype, [&](auto type) { BackwardPass<decltype(type)>(args).run(); });
}

// The two dtypes of the convolution's activations.
template <class F>
SG_INLINE void by_activation(DType dtype, const F& f) {
  dtype == DType::bf16 ? f(c10::BFloat16{}) : f(float{});
}

void winograd(const Winograd& args) {
  by_activation(args.dtype, [&](auto type) { WinogradPass<decltype(type)>(args).run(); });
}

void winograd_gradient(const WinogradGradient& args) {
  by_activation(args.dtype, [&](auto type) { WinogradGradientPass<decltype(type)>(args).run(); });
}
