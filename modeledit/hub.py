"""Models of the hub, fetched at a pinned revision into its standard cache."""

from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

_CONFIGURATION = ["config.json", "generation_config.json"]
_TOKENIZER = ["tokenizer*", "special_tokens_map.json", "added_tokens.json"]
_TOKENIZER += ["vocab.json", "merges.txt"]
_WEIGHTS = {
    "safetensors": ["model*.safetensors", "model.safetensors.index.json"],
    "torch": ["pytorch_model*.bin", "pytorch_model.bin.index.json"],
}


class HubError(ValueError):
    """A model that cannot be fetched from the hub."""


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
        raise HubError(f"{repo} at revision {revision}: {why}") from error
    if not any(folder.glob(_WEIGHTS[weights][0])):
        raise HubError(
            f"{repo} at revision {revision}: no {_WEIGHTS[weights][0]} there (looked in {folder}); "
            f"correct source.weights = {weights}, or remove that folder to fetch it again"
        )
    return folder


def _way_out(error: Exception, weights: str, gated: bool) -> str:
    """Why the hub gave nothing and what to do, in one line."""
    # Without a token a gated repository may also look like one that does not exist.
    refused = isinstance(error, HfHubHTTPError) and error.response.status_code in (401, 403)
    if isinstance(error, GatedRepoError) or (gated and refused):
        return (
            "access is gated; accept the licence on the model's page and set HF_TOKEN to a token "
            "of the account that accepted it"
        )
    if isinstance(error, (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError)):
        return "no such repository or revision; correct source.repo and source.revision"
    reason = (str(error).splitlines() or [""])[0]
    torch_weights = ", weights: torch" if weights == "torch" else ""
    return (
        "not whole in the cache, and cannot be downloaded; run where there is a network, or "
        "download the folder elsewhere and use "
        f"`source: {{kind: folder, path: ...{torch_weights}}}` ({type(error).__name__}: {reason})"
    )
