"""Training of a pose network: data, learner, learning-rate schedule, resume, several processes."""
