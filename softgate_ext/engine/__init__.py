"""Training, evaluation and prediction of pose networks."""
