"""The engine: requests -> steps of one static shape -> results."""
