"""The HTTP API of `jaxcls serve`. It knows no jax and holds nothing on a device: an AsyncLLM does the work."""
