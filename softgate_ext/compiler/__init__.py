"""Fused ops for models that nobody here wrote: the backend `softgate` of `torch.compile`."""

from softgate_ext.compiler.conversion import convert, explain
from softgate_ext.compiler.dynamo import softgate
from softgate_ext.compiler.report import Fused, Left, Report

__all__ = ["Fused", "Left", "Report", "convert", "explain", "softgate"]
