// The one way to global memory: packs of up to 16 bytes, the widest access a thread can make and the
// one that keeps most bytes in flight per instruction. Where alignment or a channel count forbids it,
// the same code runs on packs of one value.
//
// A name without a suffix leaves the line in L2 for the next reader; _cs (streaming, evict first)
// marks the last touch of a line, so that it makes room for lines that will be read again.
#pragma once

#include <cstring>
#include <type_traits>

#include "../args.h"
#include "device.cuh"

#include "../math.h"

namespace softgate::cuda {

template <class T>
using Accumulator = std::conditional_t<std::is_same_v<T, double>, double, float>;


template <class To, class From>
__device__ __forceinline__ To bits_as(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  memcpy(static_cast<void*>(&to), &from, sizeof(To));
  return to;
}

__device__ __forceinline__ float widen(float v) { return v; }
__device__ __forceinline__ double widen(double v) { return v; }
__device__ __forceinline__ float widen(__half v) { return __half2float(v); }
__device__ __forceinline__ float widen(__nv_bfloat16 v) { return __bfloat162float(v); }

template <class T>
__device__ __forceinline__ T narrow(Accumulator<T> v) {
  if constexpr (std::is_same_v<T, __half>) return __float2half_rn(v);
  if constexpr (std::is_same_v<T, __nv_bfloat16>) return __float2bfloat16_rn(v);
  if constexpr (sizeof(T) > 2) return v;
}

// Two at once: one instruction, where two single ones need three.
template <class T>
__device__ __forceinline__ unsigned narrow_pair(float a, float b) {
  if constexpr (std::is_same_v<T, __half>) {
    return bits_as<unsigned>(__float22half2_rn(make_float2(a, b)));
  } else {
    return bits_as<unsigned>(__float22bfloat162_rn(make_float2(a, b)));
  }
}

// The same behind a ReLU, which the conversion does on its way; NaN passes, as in math.h.
template <class T>
__device__ __forceinline__ unsigned narrow_pair_relu(float a, float b) {
#if defined(__CUDA_ARCH__) && !defined(SOFTGATE_EMULATOR)
  unsigned pair;
  if constexpr (std::is_same_v<T, __half>) {
    asm("cvt.rn.relu.f16x2.f32 %0, %2, %1;" : "=r"(pair) : "f"(a), "f"(b));
  } else {
    asm("cvt.rn.relu.bf16x2.f32 %0, %2, %1;" : "=r"(pair) : "f"(a), "f"(b));
  }
  return pair;
#else
  return narrow_pair<T>(relu(a), relu(b));
#endif
}

// V values of T as they travel. They stay in words of the registers' width until they are used: held
// one by one, values of two bytes would take a register each.
template <class T, int V>
struct alignas(sizeof(T) * V) Pack {
  static constexpr bool kHalves = sizeof(T) == 2 && V > 1;
  using Unit = std::conditional_t<kHalves, unsigned, T>;
  static constexpr int kUnits = sizeof(T) * V / sizeof(Unit);
  Unit unit[kUnits];

  __device__ __forceinline__ Accumulator<T> get(int v) const {
    if constexpr (kHalves && std::is_same_v<T, __nv_bfloat16>) {  // the upper half of a float
      return bits_as<float>(v % 2 ? unit[v / 2] & 0xffff0000 : unit[v / 2] << 16);
    } else if constexpr (kHalves) {
      const unsigned bits = v % 2 ? unit[v / 2] >> 16 : unit[v / 2] & 0xffff;
      return widen(bits_as<T>(static_cast<unsigned short>(bits)));
    } else {
      return widen(unit[v]);
    }
  }

  __device__ __forceinline__ void set(const Accumulator<T> (&value)[V], bool with_relu = false) {
#pragma unroll
    for (int i = 0; i < kUnits; ++i) {
      if constexpr (kHalves) {
        unit[i] = with_relu ? narrow_pair_relu<T>(value[2 * i], value[2 * i + 1])
                            : narrow_pair<T>(value[2 * i], value[2 * i + 1]);
      } else {
        unit[i] = narrow<T>(with_relu ? relu(value[i]) : value[i]);
      }
    }
  }
};

template <int kBytes>
struct WordOf;
template <>
struct WordOf<16> {
  using type = uint4;
};
template <>
struct WordOf<8> {
  using type = uint2;
};
template <>
struct WordOf<4> {
  using type = unsigned;
};
template <>
struct WordOf<2> {
  using type = unsigned short;
};

// Says that a place is in global memory: a pointer out of a call's struct could be to any, and the
// access would look its kind up.
template <class T>
__device__ __forceinline__ T* global(T* place) {
  __builtin_assume(__isGlobal(place));
  return place;
}

// Keeps the compiler from reading a table once and holding it in registers across a loop.
__device__ __forceinline__ void forget_registers() { asm volatile("" ::: "memory"); }

// Keeps the compiler from working a number out again where it is used, or in 64 bits.
template <class N>
__device__ __forceinline__ void keep_as_it_is(N& number) {
#if defined(__CUDA_ARCH__) && !defined(SOFTGATE_EMULATOR)
  if constexpr (sizeof(N) == 4) {
    asm volatile("" : "+r"(number));
  } else {
    asm volatile("" : "+l"(number));
  }
#endif
}

// A product of 64 bits of two factors of 32, said outright: where the compiler widens a factor outside of a loop, it
// forgets in the loop that its upper half is zero, and multiplies and adds that too.
__device__ __forceinline__ uint64_t product(unsigned a, unsigned b) {
#if defined(__CUDA_ARCH__) && !defined(SOFTGATE_EMULATOR)
  uint64_t wide;
  asm("mul.wide.u32 %0, %1, %2;" : "=l"(wide) : "r"(a), "r"(b));
  return wide;
#else
  return uint64_t(a) * b;
#endif
}

// The machine word a pack is loaded and stored as.
template <class P>
using Word = typename WordOf<sizeof(P)>::type;

template <class P, class T>
__device__ __forceinline__ P load(const T* place) {
  trace_read(place, sizeof(P));
  const Word<P> word = *reinterpret_cast<const Word<P>*>(global(place));
  return bits_as<P>(word);
}

template <class P, class T>
__device__ __forceinline__ P load_cs(const T* place) {
  trace_read(place, sizeof(P), true);
  return bits_as<P>(__ldcs(reinterpret_cast<const Word<P>*>(place)));
}

template <class P, class T>
__device__ __forceinline__ void store(T* place, const P& pack) {
  trace_write(place, sizeof(P));
  *reinterpret_cast<Word<P>*>(global(place)) = bits_as<Word<P>>(pack);
}

template <class P, class T>
__device__ __forceinline__ void store_cs(T* place, const P& pack) {
  trace_write(place, sizeof(P), true);
  __stcs(reinterpret_cast<Word<P>*>(place), bits_as<Word<P>>(pack));
}

// Value i of a per-channel vector, or other where there is no vector.
template <class A>
__device__ __forceinline__ A channel_value(const In& vector, long long i, A other) {
  if (!vector.given) return other;
  const A* place = static_cast<const A*>(vector.data) + i;
  trace_read(place, sizeof(A));
  return *global(place);
}

template <class A>
__device__ __forceinline__ void set_channel_value(const Out& vector, long long i, A value) {
  if (!vector.given) return;
  A* place = static_cast<A*>(vector.data) + i;
  trace_write(place, sizeof(A));
  *global(place) = value;
}

}  // namespace softgate::cuda
