"""Configuration: of the engine, of the pooler, and of Hugging Face checkpoints."""
