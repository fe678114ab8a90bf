"""Secrets taken out of what is printed, logged or recorded: passwords in addresses, tokens."""

import logging
import os
import re
from collections.abc import Iterator

MASK = "***"
_LEAST = 6  # characters of a secret that is looked for anywhere; shorter ones stand in words too
_TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "OPENAI_API_KEY")
_PATTERNS = (
    # user:password@ in an address, also where a password holds a slash that should be written %2F
    (r"(?<=://)(?!\[)[^\s/@:]+:(?!\d+(?:[/?#]|\Z))[^\s@'\"]*@(?:[^\s/?#@]*@)*", f"{MASK}@"),
    (r"(?<=://)[^\s/?#]*@", f"{MASK}@"),
    (r"\bhf_\w{8,}", MASK),
    (r"\bBearer +[\w.~+/=-]{16,}", f"Bearer {MASK}"),
    # of addresses that are signed, as those that the hub forwards to
    (
        r"(?i)([?&][\w-]*(?:token|signature|secret|password|credential|key-pair-id|api_?key)=)"
        r"[^&\s'\"<>]+",
        rf"\1{MASK}",
    ),
)


def masked(text: str) -> str:
    """`text` without passwords and tokens: those that look so, and those of the environment."""
    for secret in sorted(_secrets(), key=len, reverse=True):
        text = text.replace(secret, MASK)
    for pattern, instead in _PATTERNS:
        text = re.sub(pattern, instead, text)
    return text


def has_password(address: str) -> bool:
    """Whether a web address holds a user's name or password."""
    return masked(address) != address and "@" in address


class Masking(logging.Filter):
    """Takes secrets out of the records of a logger."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass, masked."""
        record.msg, record.args = masked(record.getMessage()), ()
        return True


def mask_logs(*libraries: str) -> None:
    """Have all loggers of some libraries, which are imported already, log without secrets."""
    for name in (*libraries, *logging.root.manager.loggerDict):
        if name.partition(".")[0] in libraries:
            logging.getLogger(name).addFilter(_MASKING)


def _secrets() -> Iterator[str]:
    """Tokens, and the passwords of addresses in the environment (proxies, mirrors)."""
    for name, value in os.environ.items():
        if name in _TOKENS:
            found = value.strip()
        elif name.lower().endswith(("_proxy", "_url", "_endpoint")):
            user, _, _ = value.rpartition("@")
            found = user.rpartition("//")[2].partition(":")[2]
        else:
            continue
        if len(found) >= _LEAST:
            yield found


_MASKING = Masking()
