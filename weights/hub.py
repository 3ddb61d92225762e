"""Where a model's files are: a local directory, or a snapshot from the Hugging Face hub."""

import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from weights.errors import CheckpointError, CheckpointNotFoundError, listed
from weights.source import INDEX, SINGLE, explain_no_weights, read_index

# What is read of a repository: configurations, tokenizers, chat templates. The weights follow, in one format; exports
# for other runtimes and training leftovers stay where they are.
_FILES = ("*.json", "*.txt", "*.model", "*.jinja", "artifact.metadata")
# The dense layers of sentence-transformers' embedders.
_DENSE = "*_Dense/model.safetensors"
_NOT = ("onnx/*", "openvino/*", "coreml/*", "runs/*", "checkpoint-*/*", ".*")
_REPO_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?", re.ASCII)


@dataclass(frozen=True)
class Checkpoint:
    """The files of a model.

    Attributes:
        path: the directory they are in.
        is_hub: whether it is a snapshot of a hub repository.
        commit: the repository's commit, None for a local directory.
    """

    path: Path
    is_hub: bool
    commit: str | None


def resolve(
    model: str,
    *,
    revision: str | None = None,
    token: str | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    endpoint: str | None = None,
    weights: bool = True,
) -> Checkpoint:
    """The files of `model`: an existing directory as it is, without a look at the network; otherwise a hub repository.

    Only configurations, tokenizers and safetensors are downloaded.

    Args:
        model: path of a directory, or a repository id such as "org/name".
        revision: branch, tag, commit or "refs/pr/<number>" of the repository; None is its default branch.
        token: for private and gated repositories; None uses the one stored by `hf auth login`, if any.
        cache_dir: where snapshots are kept; None is the hub library's own cache.
        local_files_only: take what the cache has and ask nothing of the network.
        endpoint: another hub's address.
        weights: False leaves the weights out.

    Raises:
        CheckpointNotFoundError: no such directory, repository, revision or cached snapshot.
        CheckpointError: access refused; no safetensors in the repository; a revision asked of a local directory.
    """
    path = Path(model).expanduser()
    if path.is_dir():
        if revision is not None:
            raise CheckpointError(f"{model} is a local directory and has no revision {revision!r}: leave revision out.")
        return Checkpoint(path, is_hub=False, commit=None)
    if path.exists():
        raise CheckpointError(f"{model} is a file: give the directory that holds config.json and the weights.")
    if model.startswith((".", "/", "~")) or "\\" in model or model.count("/") > 1:
        raise CheckpointNotFoundError(
            f"there is no directory {path.absolute()}: give that of a checkpoint, or a repository id such as org/name"
        )
    if not _REPO_ID.fullmatch(model):
        raise CheckpointNotFoundError(f"{model!r} is neither a directory nor a repository id such as org/name.")
    return _Repository(model, token, cache_dir, local_files_only, endpoint).fetch(revision, weights)


@dataclass(frozen=True)
class _Repository:
    name: str
    token: str | None
    cache_dir: str | Path | None
    local_files_only: bool
    endpoint: str | None

    def fetch(self, revision: str | None, weights: bool) -> Checkpoint:
        snapshot = self._snapshot(revision, [*_FILES, SINGLE, _DENSE] if weights else _FILES)
        commit = snapshot.name
        if weights and not (snapshot / SINGLE).is_file():
            if not (snapshot / INDEX).is_file():
                raise CheckpointError(self._explain_no_weights(snapshot))
            shards = sorted(set(read_index(snapshot / INDEX).values()))
            self._snapshot(commit, shards)
            if missing := [shard for shard in shards if not (snapshot / shard).is_file()]:
                raise CheckpointError(
                    f"{self.name} lacks {', '.join(listed(missing))}, which its {INDEX} names: they are neither in the "
                    f"local cache nor to be had from the hub{' with local_files_only=True' * self.local_files_only}."
                )
        return Checkpoint(snapshot, is_hub=True, commit=commit)

    def _snapshot(self, revision: str | None, patterns: list[str] | tuple[str, ...]) -> Path:
        from huggingface_hub import errors, snapshot_download

        try:
            return Path(
                snapshot_download(
                    self.name,
                    revision=revision,
                    token=self.token,
                    cache_dir=self.cache_dir,
                    local_files_only=self.local_files_only,
                    allow_patterns=list(patterns),
                    ignore_patterns=list(_NOT),
                    endpoint=self.endpoint,
                )
            )
        except errors.HFValidationError as error:
            raise CheckpointNotFoundError(f"{self.name} is neither a directory nor a repository id: {error}") from None
        except errors.GatedRepoError as error:
            raise CheckpointError(
                f"{self.name} is gated: accept its terms on its hub page, then pass the token of that account as "
                "hf_token or run `hf auth login`."
            ) from error
        except errors.RevisionNotFoundError as error:
            raise CheckpointNotFoundError(f"{self.name} has no revision {revision!r} on the hub.") from error
        except errors.RepositoryNotFoundError as error:
            raise CheckpointNotFoundError(
                f"the hub shows no repository {self.name}, and there is no local directory of that name. Check the "
                "spelling; if the repository is private, pass a token that may read it as hf_token or run "
                "`hf auth login`."
            ) from error
        except errors.LocalEntryNotFoundError as error:
            raise self._unavailable(revision, error) from error
        except errors.HfHubHTTPError as error:
            raise CheckpointError(f"the hub did not give {self.name}: {_one_line(error)}") from error

    def _unavailable(self, revision: str | None, error: Exception) -> CheckpointError:
        from huggingface_hub.errors import HfHubHTTPError

        what = self.name if revision is None else f"{self.name} at revision {revision}"
        if self.local_files_only:
            return CheckpointNotFoundError(
                f"{what} is not, or not completely, in the local cache, and local_files_only=True forbids to fetch it: "
                "run once without it, or give the cache's directory as download_dir."
            )
        cause = error.__cause__ or error
        if isinstance(cause, HfHubHTTPError) and cause.response.status_code in (401, 403):
            return CheckpointError(
                f"the hub refuses access to {what}: {_one_line(cause)}. Pass a token that may read it as hf_token, or "
                "run `hf auth login`."
            )
        return CheckpointNotFoundError(
            f"{what} is not, or not completely, in the local cache, and the hub cannot be asked: {_one_line(cause)}. "
            "Try again with a connection, or give a local directory."
        )

    def _explain_no_weights(self, snapshot: Path) -> str:
        from huggingface_hub import HfApi

        files = [path.name for path in snapshot.iterdir()]
        if self.local_files_only:
            return explain_no_weights(f"the local cache's snapshot of {self.name}", files)
        # This only words an error: if the listing cannot be had, the names of what was downloaded have to do.
        with suppress(Exception):
            files = HfApi(endpoint=self.endpoint, token=self.token).list_repo_files(self.name, revision=snapshot.name)
        return explain_no_weights(self.name, files)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()).rstrip(".")
