"""The model hub: models at a pinned revision, into its standard cache, and files of data sets.

Its errors are not kept as causes of ours: a traceback in a log would show what they hold, addresses
with passwords or signatures among it.
"""

from pathlib import Path
from typing import NamedTuple

from huggingface_hub import (
    get_hf_file_metadata,
    hf_hub_download,
    hf_hub_url,
    snapshot_download,
)
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from modeledit.io.files import disk_full
from modeledit.io.refusal import Refusal
from modeledit.study.masking import mask_logs, masked

mask_logs("huggingface_hub", "httpx", "httpcore", "urllib3")  # they log addresses

_CONFIGURATION = ["config.json", "generation_config.json"]
_TOKENIZER = ["tokenizer*", "special_tokens_map.json", "added_tokens.json"]
_TOKENIZER += ["vocab.json", "merges.txt"]
_WEIGHTS = {
    "safetensors": ["model*.safetensors", "model.safetensors.index.json"],
    "torch": ["pytorch_model*.bin", "pytorch_model.bin.index.json"],
}


class HubError(Refusal):
    """A model or file that cannot be fetched from the hub."""


class Fetched(NamedTuple):
    """A file of a data set: where it is now, at which commit, and its sha256 if the hub says it."""

    path: Path
    commit: str | None
    sha256: str | None


def fetch_model(repo: str, revision: str, weights: str, gated: bool) -> Path:
    """Folder of `repo` at the commit `revision` in the hub's cache, downloaded where it is missing.

    Holds the configuration, the tokenizer and the weights of one format, "safetensors" or "torch";
    no code is fetched. Follows HF_HOME, HF_HUB_OFFLINE and HF_TOKEN. Raises HubError.
    """
    files = _CONFIGURATION + _TOKENIZER + _WEIGHTS[weights]
    try:
        folder = Path(snapshot_download(repo, revision=revision, allow_patterns=files))
    except Exception as error:  # HTTP, network, disk, names: they have no common base
        why = _way_out(error, weights, gated)
        raise HubError(f"{repo} at revision {revision}: {why}") from None
    if not any(folder.glob(_WEIGHTS[weights][0])):
        raise HubError(
            f"{repo} at revision {revision}: no {_WEIGHTS[weights][0]} there (looked in {folder}); "
            f"correct source.weights = {weights}, or remove that folder to fetch it again"
        )
    return folder


def check_access(repo: str, revision: str, gated: bool) -> None:
    """Fetch a model's configuration alone: a refusal then comes in a second, not after hours.

    A configuration in the hub's cache will do, without a network. Raises HubError.
    """
    try:
        hf_hub_download(repo, _CONFIGURATION[0], revision=revision)
    except Exception as error:
        why = _way_out(error, "safetensors", gated)
        raise HubError(f"{repo} at revision {revision}: {why}") from None


def fetch_file(repo: str, path: str, revision: str, folder: Path) -> Fetched:
    """The file `path` of the data set `repo` at `revision`, a commit or a branch, below `folder`.

    An interrupted download is continued. Raises HubError, but OSError where the disk is full.
    """
    try:
        url = hf_hub_url(repo, path, repo_type="dataset", revision=revision)
        metadata = get_hf_file_metadata(url)
        commit, tag = metadata.commit_hash, metadata.etag or ""
        got = hf_hub_download(
            repo, path, repo_type="dataset", revision=commit or revision, local_dir=folder
        )
    except Exception as error:
        if disk_full(error):
            raise
        why = _refusal(error, False, "config/sources.yaml") or _in_short(error)
        raise HubError(f"data set {repo} at revision {revision}: {why}") from None
    # The hub's tag of a large file is its sha256, of a small one it is git's own digest.
    return Fetched(Path(got), commit, tag if len(tag) == 64 else None)


def _refusal(error: Exception, gated: bool, to_correct: str) -> str | None:
    """Why the hub gave nothing and what to do, where it said so itself."""
    # Without a token a gated repository may also look like one that does not exist.
    refused = isinstance(error, HfHubHTTPError) and error.response.status_code in (401, 403)
    if isinstance(error, GatedRepoError) or (gated and refused):
        return (
            "access is gated; accept the licence on the model's page and set HF_TOKEN to a token "
            "of the account that accepted it"
        )
    if isinstance(error, (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError)):
        return f"no such repository or revision; correct {to_correct}"
    return None


def _way_out(error: Exception, weights: str, gated: bool) -> str:
    """Why the hub gave no model and what to do, in one line."""
    if refusal := _refusal(error, gated, "source.repo and source.revision"):
        return refusal
    if disk_full(error):
        return "no space left for its cache; make room or set HF_HOME to a larger disk"
    torch_weights = ", weights: torch" if weights == "torch" else ""
    return (
        "not whole in the cache, and cannot be downloaded; run where there is a network, or "
        "download the folder elsewhere and use "
        f"`source: {{kind: folder, path: ...{torch_weights}}}` ({_in_short(error)})"
    )


def _in_short(error: Exception) -> str:
    return masked(f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}")
