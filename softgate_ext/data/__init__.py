"""Pose datasets: readers of LSP, MPII, FLIC, COCO's and YOLO's form, augmentation, network crops."""
