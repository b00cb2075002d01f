"""Fused ops for models that nobody here wrote: `converted, report = convert(model)`."""

from softgate_ext.conversion.conversion import convert
from softgate_ext.conversion.report import Change, Left, Report

__all__ = ["Change", "Left", "Report", "convert"]
