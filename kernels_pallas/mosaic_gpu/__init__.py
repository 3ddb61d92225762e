"""What the attention kernels for Hopper GPUs have in common."""
