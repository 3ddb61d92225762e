"""What keeps a load test from starting."""

from jaxcls.errors import JaxclsError


class LoadTestError(JaxclsError):
    """A server cannot be reached, or does not answer as /classify does."""
