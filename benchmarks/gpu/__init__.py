"""Checks and measurements that need a GPU, in two legs of nine minutes: ``make gpu``, ``python -m benchmarks.gpu``.

``legs`` lists the steps. Each step is a module of this folder and runs in its own process. It prints each result
at once, so that a step that is stopped at its limit leaves the results that it had.
"""
