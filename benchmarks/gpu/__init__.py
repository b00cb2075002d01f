"""All that only a GPU can tell, in two legs of nine minutes: ``make gpu``, ``python -m benchmarks.gpu``.

``legs`` lists the steps; each is a module of this folder, a process of its own, and writes what it
finds line by line, so that a step that is stopped at its limit leaves what it had.
"""
