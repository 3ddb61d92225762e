"""The command line."""


def main() -> None:
    """Entry point of the `jaxcls` command."""
    from jaxcls.cli.app import app

    app()
