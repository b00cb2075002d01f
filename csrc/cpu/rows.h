// The inner loops, over one row of values at a time. Included like vec.h.
//
// In the contiguous layout a row is a piece of one channel, and a parameter is one value. In channels_last a
// row is the channels of one pixel, and a parameter is a vector along the row: kAlong is true.

#define SG_LAMBDA __attribute__((always_inline))

struct Full {};
struct Part {
  int64_t n;
};

template <class T>
SG_INLINE Vec<T> load(const T* p, Full) {
  return load(p);
}
template <class T>
SG_INLINE Vec<T> load(const T* p, Part m) {
  return load(p, m.n);
}
template <class T, class V>
SG_INLINE void store(T* p, V v, Full) {
  store(p, v);
}
template <class T, class V>
SG_INLINE void store(T* p, V v, Part m) {
  store(p, v, m.n);
}

// Calls f(i, Full) for each whole vector of the row, and f(i, Part) for the rest.
template <class T, class F>
SG_INLINE void sweep(int64_t len, const F& f) {
  int64_t i = 0;
  for (; i + kLanes<T> <= len; i += kLanes<T>) f(i, Full{});
  if (i < len) f(i, Part{len - i});
}

// A per-channel parameter: a vector along the row, or one value for the whole row.
template <class A, bool kAlong>
struct Parameter {
  explicit Parameter(const A* values) : p(values), one(kAlong ? Vec<A>{} : splat<Vec<A>>(*values)) {}

  const A* p;
  Vec<A> one;
};

template <class A, bool kAlong, class M>
SG_INLINE Vec<A> get(const Parameter<A, kAlong>& parameter, int64_t i, M mask) {
  if constexpr (kAlong) return load(parameter.p + i, mask);
  return parameter.one;
}

// dst = alpha * x + f + extra; x, f and extra may be null.
template <bool kAlong, class T>
SG_INLINE void gate_row(T* dst, const T* x, const Acc<T>* alpha, const T* f, const T* extra,
                        int64_t len) {
  using A = Acc<T>;
  if (x != nullptr && f != nullptr && extra == nullptr) {
    const Parameter<A, kAlong> a(alpha);
    sweep<T>(len, [&](int64_t i, auto m) SG_LAMBDA {
      store(dst + i, gate(get(a, i, m), load(x + i, m), load(f + i, m)), m);
    });
    return;
  }
  static const A kOne = 1;
  const Parameter<A, false> one(&kOne);
  const Parameter<A, kAlong> a(x != nullptr ? alpha : (kAlong ? nullptr : &kOne));
  sweep<T>(len, [&](int64_t i, auto m) SG_LAMBDA {
    Vec<T> sum = f != nullptr ? load(f + i, m) : Vec<T>{};
    if (x != nullptr) sum = gate(get(a, i, m), load(x + i, m), sum);
    if (extra != nullptr) sum = gate(get(one, i, m), load(extra + i, m), sum);
    store(dst + i, sum, m);
  });
}

// One image row of nearest 2x upsampling: dst[2i] = dst[2i + 1] = low[i].
template <class T>
SG_INLINE void expand_row(T* dst, const T* low, int64_t low_len) {
  for (int64_t i = 0; i < low_len; ++i) dst[2 * i] = dst[2 * i + 1] = low[i];
}

// Its adjoint: the sum of the four children, two from each of two image rows.
template <class T, class A>
SG_INLINE void fold_row(T* low, const A* upper, const A* lower, int64_t low_len) {
  for (int64_t i = 0; i < low_len; ++i) {
    low[i] = static_cast<T>((upper[2 * i] + upper[2 * i + 1]) + (lower[2 * i] + lower[2 * i + 1]));
  }
}

template <class A, bool kAlong>
struct NormParameters {
  Parameter<A, kAlong> mean, scale, bias;
};

template <bool kStream, class T, class M>
SG_INLINE void put(T* p, Vec<T> v, M mask) {
  if constexpr (kStream && std::is_same_v<M, Full>) {
    stream(p, v);
  } else {
    store(p, v, mask);
  }
}

// z = relu(norm(y)) for y = value(i, mask). y is also written to y_out if that is given.
template <bool kAlong, bool kStream, class T, class F>
SG_INLINE void normalise_row(T* z, T* y_out, const NormParameters<Acc<T>, kAlong>& norm,
                             bool with_relu, int64_t len, const F& value) {
  const auto body = [&](auto copy, auto rectify) SG_LAMBDA {
    sweep<T>(len, [&](int64_t i, auto m) SG_LAMBDA {
      const Vec<T> y = value(i, m);
      if constexpr (decltype(copy)::value) put<kStream>(y_out + i, y, m);
      Vec<T> pre =
          pre_activation(y, get(norm.mean, i, m), get(norm.scale, i, m), get(norm.bias, i, m));
      if constexpr (decltype(rectify)::value) pre = relu(pre);
      put<kStream>(z + i, pre, m);
    });
  };
  if (y_out != nullptr) {
    with_relu ? body(std::true_type{}, std::true_type{}) : body(std::true_type{}, std::false_type{});
  } else {
    with_relu ? body(std::false_type{}, std::true_type{})
              : body(std::false_type{}, std::false_type{});
  }
}

template <class T>
SG_INLINE void stream_copy(T* dst, const T* src, int64_t len) {
  sweep<T>(len, [&](int64_t i, auto m) SG_LAMBDA {
    if constexpr (std::is_same_v<decltype(m), Full>) {
      stream(dst + i, load(src + i));
    } else {
      store(dst + i, load(src + i, m), m);
    }
  });
}

// Sums over `rows` rows of one vector each, `stride` apart; term(sums, offset, mask) adds a row. Four rows
// are summed independently, so that an addition need not wait for the previous one. The sums of 32 rows are
// added in double, because a longer chain of additions in float would lose digits.
template <class V, int kSums, class M, class F>
SG_INLINE void sum_rows(Wide<V> (&sums)[kSums], int64_t rows, int64_t stride, M mask, const F& term) {
  constexpr int64_t kShort = 32;
  for (int s = 0; s < kSums; ++s) sums[s] = Wide<V>{};
  for (int64_t r = 0; r < rows;) {
    V partial[4][kSums] = {};
    const int64_t end = r + kShort < rows ? r + kShort : rows;
    for (; r + 4 <= end; r += 4) {
      for (int k = 0; k < 4; ++k) term(partial[k], (r + k) * stride, mask);
    }
    for (; r < end; ++r) term(partial[0], r * stride, mask);
    for (int s = 0; s < kSums; ++s) {
      const V sum = (partial[0][s] + partial[1][s]) + (partial[2][s] + partial[3][s]);
      sums[s] += __builtin_convertvector(sum, Wide<V>);
    }
  }
}

template <class W>
SG_INLINE void store_sums(double* p, W sums, Full) {
  __builtin_memcpy(p, &sums, sizeof sums);
}
template <class W>
SG_INLINE void store_sums(double* p, W sums, Part m) {
  __builtin_memcpy(p, &sums, m.n * sizeof(double));
}
