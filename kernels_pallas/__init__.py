"""Attention kernels for packed classification batches; standalone, one folder an op."""
