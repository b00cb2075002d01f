"""From a folder of people to a run that evaluates, predicts and resumes."""
