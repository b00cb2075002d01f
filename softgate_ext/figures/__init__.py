"""Plots of runs and sheets of drawn people."""
