"""Measures the speed of the ops, the block and the training step: fused, eager and compiled.

``python -m benchmarks.run`` measures. ``python -m benchmarks.report FILE.json`` makes the table and
the plot.
"""
