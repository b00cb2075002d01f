"""Pose datasets: Leeds Sports Pose, drawn people, augmentation, crops for the network."""
