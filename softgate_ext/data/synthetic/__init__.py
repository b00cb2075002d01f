"""Datasets of drawn people in the format of Leeds Sports Pose, for use without real data."""

from softgate_ext.data.synthetic.scene import draw_person
from softgate_ext.data.synthetic.writer import draw_people

__all__ = ["draw_people", "draw_person"]
