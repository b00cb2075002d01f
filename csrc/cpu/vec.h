// Vectors of one register for one instruction set. This file is included inside the namespace of each set, by
// avx2.cpp, avx512.cpp and baseline.cpp.
//
// GCC's vector types do the arithmetic; only conversions of half precision, partial accesses and
// non-temporal accesses need intrinsics. There is no include guard and no #include here, because isa.h
// includes all headers before the instruction set is switched on. SG_BYTES, the width of a register,
// identifies the set, because the compiler's own macros (such as __AVX512F__) do not change when a set is
// switched on inside a file.

#define SG_FORCE inline __attribute__((always_inline))
#define SG_INLINE static SG_FORCE

typedef float F32 __attribute__((vector_size(SG_BYTES)));
typedef double F64 __attribute__((vector_size(SG_BYTES)));
typedef uint32_t U32 __attribute__((vector_size(SG_BYTES)));
typedef uint16_t U16 __attribute__((vector_size(SG_BYTES / 2)));

// T: the stored type. A: the accumulator. V: a vector of kLanes accumulators.
template <class T>
struct Traits {
  using A = float;
  using V = F32;
};
template <>
struct Traits<double> {
  using A = double;
  using V = F64;
};
template <class T>
using Acc = typename Traits<T>::A;
template <class T>
using Vec = typename Traits<T>::V;
template <class T>
constexpr int64_t kLanes = sizeof(Vec<T>) / sizeof(Acc<T>);

template <class V, class A>
SG_INLINE V splat(A value) {
  return value - V{};  // equal to value, also for zeros of both signs; the compiler removes the subtraction
}

// A vector of as many doubles as V has lanes, for sums over many values.
template <class V>
struct WideOf {
  typedef double type __attribute__((vector_size(sizeof(V) / sizeof(V{}[0]) * sizeof(double))));
};
template <class V>
using Wide = typename WideOf<V>::type;

template <class V>
SG_INLINE double horizontal_sum(V v) {
  double sum = 0;
  for (size_t i = 0; i < sizeof(V) / sizeof(v[0]); ++i) sum += v[i];
  return sum;
}

// Conversions

// bfloat16 is the upper half of a float.
SG_INLINE F32 from_bfloat16(U16 bits) {
  return (F32)(__builtin_convertvector(bits, U32) << 16);
}

// Rounds to nearest even. A NaN becomes the quiet NaN 0x7fc0, as in torch.
SG_INLINE U16 to_bfloat16(F32 v) {
  const U32 bits = (U32)v;
  const U32 rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const U32 nan = U32{} + 0x7fc0u;
  return __builtin_convertvector(v != v ? nan : rounded, U16);
}

SG_INLINE F32 from_half(U16 bits) {
#if SG_BYTES == 64
  return (F32)_mm512_cvtph_ps((__m256i)bits);
#elif SG_BYTES == 32
  return (F32)_mm256_cvtph_ps((__m128i)bits);
#else
  F32 out;
  for (int i = 0; i < kLanes<float>; ++i) out[i] = c10::detail::fp16_ieee_to_fp32_value(bits[i]);
  return out;
#endif
}

SG_INLINE U16 to_half(F32 v) {
#if SG_BYTES == 64
  return (U16)_mm512_cvtps_ph((__m512)v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#elif SG_BYTES == 32
  return (U16)_mm256_cvtps_ph((__m256)v, _MM_FROUND_TO_NEAREST_INT);
#else
  U16 out;
  for (int i = 0; i < kLanes<float>; ++i) out[i] = c10::detail::fp16_ieee_from_fp32_value(v[i]);
  return out;
#endif
}

// Whole vectors

SG_INLINE F32 load(const float* p) {
  F32 v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
SG_INLINE F64 load(const double* p) {
  F64 v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
SG_INLINE U16 load_bits(const void* p) {
  U16 v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
SG_INLINE F32 widened(U16 bits, const c10::BFloat16*) { return from_bfloat16(bits); }
SG_INLINE F32 widened(U16 bits, const c10::Half*) { return from_half(bits); }
SG_INLINE F32 load(const c10::BFloat16* p) { return widened(load_bits(p), p); }
SG_INLINE F32 load(const c10::Half* p) { return widened(load_bits(p), p); }

SG_INLINE F32 narrow(F32 v, const float*) { return v; }
SG_INLINE F64 narrow(F64 v, const double*) { return v; }
SG_INLINE U16 narrow(F32 v, const c10::BFloat16*) { return to_bfloat16(v); }
SG_INLINE U16 narrow(F32 v, const c10::Half*) { return to_half(v); }

// v rounded to T, which is the value that a later load gives.
SG_INLINE F32 rounded(F32 v, const float*) { return v; }
SG_INLINE F64 rounded(F64 v, const double*) { return v; }
SG_INLINE F32 rounded(F32 v, const c10::BFloat16*) { return from_bfloat16(to_bfloat16(v)); }
SG_INLINE F32 rounded(F32 v, const c10::Half*) { return from_half(to_half(v)); }

template <class T, class V>
SG_INLINE void store(T* p, V v) {
  const auto bits = narrow(v, p);
  __builtin_memcpy(p, &bits, sizeof bits);
}

// A store that bypasses the caches, for results larger than the caches: an ordinary store would read each
// cache line first. The address must be aligned to the access.
template <class T, class V>
SG_INLINE void stream(T* p, V v) {
  const auto bits = narrow(v, p);
#if SG_BYTES == 64
  if constexpr (sizeof bits == 64) return _mm512_stream_si512((__m512i*)p, (__m512i)bits);
#endif
#if SG_BYTES >= 32
  if constexpr (sizeof bits == 32) return _mm256_stream_si256((__m256i*)p, (__m256i)bits);
#endif
#if defined(__SSE2__)
  if constexpr (sizeof bits == 16) return _mm_stream_si128((__m128i*)p, (__m128i)bits);
#endif
  __builtin_memcpy(p, &bits, sizeof bits);
}

// Makes streamed stores visible to other threads before the end of the work is signalled to them.
SG_INLINE void stream_fence() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

// Accesses of the first n lanes, 0 < n < kLanes. The other lanes are read as zero and not written.

#if SG_BYTES == 32
SG_INLINE __m256i first_words(int64_t n) {
  static const int32_t words[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
  return _mm256_loadu_si256((const __m256i*)(words + 8 - n));
}

// Stores 4, 2 and 1 words, because AVX2's masked store is slower than all of these on AMD processors.
template <class T>
SG_INLINE void store_words(T* p, __m256i v, int64_t words) {
  int32_t* const out = (int32_t*)p;
  __m128i rest = _mm256_castsi256_si128(v);
  if (words & 4) {
    _mm_storeu_si128((__m128i*)out, rest);
    rest = _mm256_extracti128_si256(v, 1);
  }
  if (words & 2) {
    _mm_storel_epi64((__m128i*)(out + (words & 4)), rest);
    rest = _mm_unpackhi_epi64(rest, rest);
  }
  if (words & 1) _mm_storeu_si32(out + (words & 6), rest);
}
#endif

template <class T>
SG_INLINE Vec<T> load(const T* p, int64_t n) {
#if SG_BYTES == 64
  if constexpr (sizeof(T) == 4) {
    return (Vec<T>)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
  } else if constexpr (sizeof(T) == 8) {
    return (Vec<T>)_mm512_maskz_loadu_pd((__mmask8)((1u << n) - 1), p);
  } else {
    return widened((U16)_mm256_maskz_loadu_epi16((__mmask16)((1u << n) - 1), p), p);
  }
#elif SG_BYTES == 32
  if constexpr (sizeof(T) == 4) return (Vec<T>)_mm256_maskload_epi32((const int*)p, first_words(n));
  if constexpr (sizeof(T) == 8) {
    return (Vec<T>)_mm256_maskload_epi32((const int*)p, first_words(2 * n));
  }
#endif
  T buffer[kLanes<T>] = {};
  for (int64_t i = 0; i < n; ++i) buffer[i] = p[i];
  return load(buffer);
}

template <class T, class V>
SG_INLINE void store(T* p, V v, int64_t n) {
#if SG_BYTES == 64
  if constexpr (sizeof(T) == 4) {
    return _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)v);
  } else if constexpr (sizeof(T) == 8) {
    return _mm512_mask_storeu_pd(p, (__mmask8)((1u << n) - 1), (__m512d)v);
  } else {
    return _mm256_mask_storeu_epi16(p, (__mmask16)((1u << n) - 1), (__m256i)narrow(v, p));
  }
#elif SG_BYTES == 32
  if constexpr (sizeof(T) >= 4) return store_words(p, (__m256i)v, n * sizeof(T) / 4);
#endif
  T buffer[kLanes<T>];
  store(buffer, v);
  for (int64_t i = 0; i < n; ++i) p[i] = buffer[i];
}
