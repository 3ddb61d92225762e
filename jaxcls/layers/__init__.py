"""Building blocks of the models; flax.nnx modules over packed tokens."""
