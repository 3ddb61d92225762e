"""The error of files that cannot be read, written or continued."""

from jaxcls.errors import JaxclsError


class RowsError(JaxclsError, ValueError):
    """A file of rows, or the options given for it, cannot be used; the message says which and what to do."""
