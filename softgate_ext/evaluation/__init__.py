"""Figures of a run, of joints that others found, and of published predictions."""
