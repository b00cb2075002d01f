// The kernels for AVX-512 (F, BW, DQ, VL).
#include "isa.h"

#if SOFTGATE_X86
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")
namespace softgate::cpu::avx512 {
#define SG_BYTES 64
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
}  // namespace softgate::cpu::avx512
#pragma GCC pop_options
#endif
