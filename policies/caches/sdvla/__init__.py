"""SD-VLA on any trunk: partition, cached engine, gate and its training."""
