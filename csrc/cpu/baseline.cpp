// The kernels for every processor of the compiler's default target.
#include "isa.h"

namespace softgate::cpu::baseline {
#define SG_BYTES 16
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
}  // namespace softgate::cpu::baseline
