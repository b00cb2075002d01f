// All accesses to global memory. A thread loads and stores packs of 16 bytes, the widest access up to sm_90, which
// has the most bytes in flight for each instruction. If the alignment or the number of channels does not allow
// this, the same code uses packs of one value.
//
// load and store have the default cache policy: the line stays in L2 for a later read. load_cs and store_cs have the
// streaming policy (evict first). They are for data that are not accessed again, so that L2 keeps the data that are.
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

// Rounds two floats to T with one instruction. Two single conversions and the packing would be three.
template <class T>
__device__ __forceinline__ unsigned narrow_pair(float a, float b) {
  if constexpr (std::is_same_v<T, __half>) {
    return bits_as<unsigned>(__float22half2_rn(make_float2(a, b)));
  } else {
    return bits_as<unsigned>(__float22bfloat162_rn(make_float2(a, b)));
  }
}

// The same with a ReLU, which is part of the conversion instruction. A NaN stays a NaN, as in math.h.
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

// V values of T, as loaded and stored. 2-byte values stay in pairs in 32-bit registers until they are used, because
// separate values would take one register each.
template <class T, int V>
struct alignas(sizeof(T) * V) Pack {
  static constexpr bool kHalves = sizeof(T) == 2 && V > 1;
  using Unit = std::conditional_t<kHalves, unsigned, T>;
  static constexpr int kUnits = sizeof(T) * V / sizeof(Unit);
  Unit unit[kUnits];

  __device__ __forceinline__ Accumulator<T> get(int v) const {
    if constexpr (kHalves && std::is_same_v<T, __nv_bfloat16>) {  // bfloat16 is the upper half of a float
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

// Tells the compiler that an address is in the global address space. The compiler does not know this of a pointer
// from a kernel argument's struct, and would use a generic access, which finds out the address space at run time.
template <class T>
__device__ __forceinline__ T* global(T* place) {
  __builtin_assume(__isGlobal(place));
  return place;
}

// A barrier for the compiler only: values in memory must be read again after it. In a main loop this keeps the
// compiler from loading the table of constants (table.cuh) once and holding all of it in registers.
__device__ __forceinline__ void forget_registers() { asm volatile("" ::: "memory"); }

// Makes the compiler keep a number in a register of its own type. Otherwise it may compute the number again at each
// use, or in 64 bits.
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

// The 64-bit product of two 32-bit factors, as one instruction. From uint64_t(a) * b the compiler may widen a factor
// before a loop, and then multiply its upper half too, which is zero.
__device__ __forceinline__ uint64_t product(unsigned a, unsigned b) {
#if defined(__CUDA_ARCH__) && !defined(SOFTGATE_EMULATOR)
  uint64_t wide;
  asm("mul.wide.u32 %0, %1, %2;" : "=l"(wide) : "r"(a), "r"(b));
  return wide;
#else
  return uint64_t(a) * b;
#endif
}

// The type of the single access that loads or stores a pack.
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

// Value i of a per-channel vector, or `other` if the vector is absent.
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
