"""What can be wrong with a checkpoint, as exceptions whose message names every problem and the way out."""


class CheckpointError(ValueError):
    """A checkpoint cannot be used as it is. The message names all that is wrong, not only the first thing."""


class MissingHeadError(CheckpointError):
    """The checkpoint has no (complete) classification head, so its scores would be random."""


class CheckpointNotFoundError(CheckpointError, FileNotFoundError):
    """No such directory, hub repository, revision or cached snapshot."""


def listed(items: list[str], *, limit: int = 20) -> list[str]:
    """The first `limit` items, then one that counts the rest."""
    rest = len(items) - limit
    return items if rest <= 0 else [*items[:limit], f"... and {rest} more"]
