"""Plots of runs, gates and studies, and the sheet of a training, as PNG files."""
