"""Pooling: which hidden states are scored, and what the scores mean."""
