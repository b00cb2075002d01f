"""The structs of the CUDA launchers for ctypes, field by field as in csrc/args.h, csrc/cuda/plan.h and calls.h."""

from ctypes import (
    Structure,
    c_bool,
    c_char,
    c_char_p,
    c_double,
    c_int,
    c_int32,
    c_int64,
    c_uint32,
    c_void_p,
)

MAX_BRANCHES = 4


class Dims(Structure):
    _fields_ = [*[(name, c_int64) for name in "nchw"], ("channels_last", c_bool)]


class Operand(Structure):
    _fields_ = [("data", c_void_p), ("given", c_bool)]


class Source(Structure):
    _fields_ = [
        ("skip", Operand),
        ("skip_channels", c_int64),
        ("alpha", Operand),
        ("alpha_shared", c_bool),
        ("branches", c_int),
        ("branch", Operand * MAX_BRANCHES),
        ("width", c_int64 * MAX_BRANCHES),
        ("low", Operand),
        ("low_channels", c_int64),
        ("concat", c_bool),
    ]


class Norm(Structure):
    _fields_ = [
        ("weight", Operand),
        ("bias", Operand),
        ("eps", c_double),
        ("relu", c_bool),
        ("training", c_bool),
    ]


class Forward(Structure):
    _fields_ = [
        ("dtype", c_int),
        ("dims", Dims),
        ("source", Source),
        ("norm", Norm),
        *[(name, Operand) for name in ("y", "z", "mean", "var")],
    ]


class Backward(Structure):
    _fields_ = [
        ("dtype", c_int),
        ("dims", Dims),
        ("source", Source),
        ("norm", Norm),
        *[(name, Operand) for name in ("dy", "dz", "y", "mean", "var", "dskip")],
        ("dbranch", Operand * MAX_BRANCHES),
        *[(name, Operand) for name in ("dlow", "dalpha", "dweight", "dbias")],
    ]


class Running(Structure):
    _fields_ = [
        ("dtype", c_int),
        ("wide", c_bool),
        ("channels", c_int64),
        *[(name, c_void_p) for name in ("mean", "var", "running_mean", "running_var", "calls")],
        ("momentum", c_double),
        ("cumulative", c_bool),
        ("unbiased", c_double),
    ]


class Slot(Structure):
    _fields_ = [
        ("name", c_char_p),
        ("begin", c_void_p),
        ("bytes", c_int64),
        ("written", c_int32),
        ("read_bytes", c_int64),
        ("write_bytes", c_int64),
    ]


class Device(Structure):
    """The numbers of a device that the launchers decide by."""

    _fields_ = [
        ("processors", c_int),
        ("l2_bytes", c_int64),
        ("shared_bytes", c_int),
        ("cluster", c_int),
        ("cooperative", c_int),
        ("clock", c_double),
        ("memory_rate", c_double),
    ]

    def __init__(
        self,
        processors: int,
        l2_bytes: int,
        shared_bytes: int,
        cluster: int,
        cooperative: int = 2,
        clock: float = 1.755e9,
        memory_rate: float | None = None,
    ):
        """Where nothing else is said, a part of an H100, as far as its processors reach."""
        rate = processors * 25e9 if memory_rate is None else memory_rate
        super().__init__(processors, l2_bytes, shared_bytes, cluster, cooperative, clock, rate)


class Options(Structure):
    _fields_ = [
        ("device", Device),
        ("variant", c_int32),
        ("order_seed", c_uint32),
        ("cache_bytes", c_int64),
        ("edge_blocks", c_int64),
        ("poison", c_int32),
        ("refuse_cooperative", c_int32),
        ("repeats", c_int32),
    ]


class Report(Structure):
    _fields_ = [
        ("read_bytes", c_int64),
        ("write_bytes", c_int64),
        ("device_bytes", c_int64),
        ("workspace_bytes", c_int64),
        ("predicted_bytes", c_double),
        ("launches", c_int32),
        ("microseconds", c_double),
        ("error", c_char * 512),
    ]
