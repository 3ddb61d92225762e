"""Routes, a module an API: `router(api)` gives those that the model can answer."""
