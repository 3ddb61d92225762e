"""`python -m jaxcls.cli`."""

from jaxcls.cli import main

main()
