"""Inference: device and precision, folded networks and their memory plans, crops to joints."""
