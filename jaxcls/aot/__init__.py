"""Whole models compiled ahead of time, for devices that need not be there."""
