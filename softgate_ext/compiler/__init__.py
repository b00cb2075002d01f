"""The backend `softgate` of `torch.compile`, which brings the fused ops to any model."""

from softgate_ext.compiler.conversion import convert, explain
from softgate_ext.compiler.dynamo import softgate
from softgate_ext.compiler.report import Fused, Left, Report

__all__ = ["Fused", "Left", "Report", "convert", "explain", "softgate"]
