"""Skeletons, crop geometry, heatmaps, metrics and drawing of single-person poses."""
