"""How commands end."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer

EXIT_ERROR, EXIT_USAGE, EXIT_BAD_ROWS, EXIT_INTERRUPTED, EXIT_BROKEN_PIPE = 1, 2, 3, 130, 141


@contextmanager
def reported(traceback: bool, interrupted: str = "interrupted") -> Iterator[None]:
    """Turns the errors that users meet into one line and an exit code; anything else is a bug and shown whole."""
    from jaxcls.cli.terminal import forget_stdout, message
    from jaxcls.errors import CheckpointError, JaxclsError
    from jaxcls.rows import RowsError, StoppedError

    try:
        yield
    except KeyboardInterrupt:
        message(interrupted)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    except BrokenPipeError:
        forget_stdout()
        raise typer.Exit(EXIT_BROKEN_PIPE) from None
    except (JaxclsError, CheckpointError, OSError) as error:
        if traceback:
            raise
        message(f"error: {' '.join(str(error).split())}", "red")
        codes = {StoppedError: EXIT_BAD_ROWS, RowsError: EXIT_USAGE}
        raise typer.Exit(codes.get(type(error), EXIT_ERROR)) from None
