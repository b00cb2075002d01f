"""Evaluation of runs, of predictions in files of many forms, and of published predictions."""
