"""Drawn people in the Leeds Sports Pose format, for machines without data."""

from softgate_ext.data.synthetic.scene import draw_person
from softgate_ext.data.synthetic.writer import draw_people

__all__ = ["draw_people", "draw_person"]
