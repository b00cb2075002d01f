// The kernels for AVX2 with FMA and half conversions.
#include "isa.h"

#if SOFTGATE_X86
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
namespace softgate::cpu::avx2 {
#define SG_BYTES 32
#include "vec.h"
#include "rows.h"
#include "chain.h"
#include "forward.h"
#include "sink.h"
#include "backward.h"
#include "winograd_tiles.h"
#include "winograd.h"
#include "winograd_weights.h"
#include "entry.h"
}  // namespace softgate::cpu::avx2
#pragma GCC pop_options
#endif
