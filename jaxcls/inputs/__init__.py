"""From what a user gives to token ids. numpy and tokenizers only, no jax."""
