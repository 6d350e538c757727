"""Models of the hub: what a name says, and what an error of the hub means for the reader."""

from __future__ import annotations

import os
from collections.abc import Iterator

from helpers.errors import StudyError

REVISION = "@"
REMOTE_CODE = (
    "asks to run code from its repository, which this study never does. Take a model of an architecture that "
    "transformers has itself"
)


def split_revision(name: str) -> tuple[str, str | None]:
    """Return the hub id and the revision (branch, tag or commit) of `owner/name@revision`; None stands for
    the newest.
    """
    repo_id, _, revision = name.partition(REVISION)
    return repo_id, revision or None


def check_hub_address() -> None:
    """Raise StudyError where the hub's address holds a login, which the hub's library would write into
    its log.
    """
    if "@" in os.environ.get("HF_ENDPOINT", ""):
        raise StudyError(
            "HF_ENDPOINT must be an address without a user name or a password, which logs would show. Take "
            "them out, and give a token in HF_TOKEN."
        )


def explain_hub_error(name: str, error: Exception) -> StudyError:
    """Return the error that says what was wrong with a model of the hub and what to do.

    Args:
        name: hub id, with or without a revision.
        error: what `from_pretrained` raised; the hub's own error is among its causes.
    """
    repo_id, revision = split_revision(name)
    page = f"https://huggingface.co/{repo_id}"
    kinds = {kind.__name__ for cause in _walk_causes(error) for kind in type(cause).__mro__}
    if "GatedRepoError" in kinds:
        what = (
            f"is gated, and no access was granted. Accept its terms at {page}, then set HF_TOKEN to a "
            "token of the account that did so (or `hf auth login`)"
        )
    elif "RevisionNotFoundError" in kinds:
        what = f"has no revision {revision!r}. Its branches and commits are listed at {page}/tree/main"
    elif "RepositoryNotFoundError" in kinds:
        what = f"was not found on the hub. Check the spelling at {page}; a private model needs HF_TOKEN"
    elif "RemoteEntryNotFoundError" in kinds:
        what = (
            f"lacks a file. It must hold config.json, a tokenizer and weights as safetensors; its files are "
            f"listed at {page}/tree/main"
        )
    elif "trust_remote_code" in str(error):
        what = REMOTE_CODE
    elif "SafetensorError" in kinds:
        again = f"hf download --force-download {repo_id}"
        what = f"has damaged weights: {first_line(error)}. Fetch them again (`{again}`)"
    elif "TransportError" in kinds:
        reason = first_line(error.__cause__ or error.__context__ or error)
        what = f"could not be fetched whole: {reason}. Run the command again when the network holds"
    else:
        first = first_line(error).rstrip(".")
        what = (
            f"could not be loaded from the hub or its cache: {first}. Go online, or fetch it where you "
            f"are (`hf download {repo_id}`), or name a folder"
        )
    return StudyError(f"Model {name!r} {what}.")


def explain_folder_error(name: str, error: Exception) -> StudyError:
    """Return the error that says what was wrong with a model's folder and what to do.

    Args:
        name: the folder.
        error: what `from_pretrained` raised.
    """
    if "trust_remote_code" in str(error):
        return StudyError(f"Model {name!r} {REMOTE_CODE}.")
    return StudyError(
        f"Model {name!r} could not be loaded: {first_line(error).rstrip('.')}. Save it again with "
        "`save_pretrained`, model and tokenizer, as safetensors."
    )


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its kind where it has none."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _walk_causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
