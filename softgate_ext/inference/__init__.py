"""From crops to joints: device, batches, and the network without its training."""
