"""A server with OpenAI's chat completions that is asked for yes or no.

Such servers run on one's own machine (llama.cpp, vLLM) or somewhere else; nothing is asked unless
the configuration names one. The key, where there is one, is taken from the environment alone.
"""

import logging
import os
from dataclasses import dataclass
from typing import Any

import requests
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    wait_exponential,
)

from modeledit.fetch import download
from modeledit.fetch.download import ATTEMPTS, may_pass, reason
from modeledit.io.refusal import Refusal

log = logging.getLogger(__name__)

KEY = "OPENAI_API_KEY"
MOST_TOKENS = 16  # of an answer; one word is asked for
_SECONDS = (10, 300)  # to connect, and until the answer is there
_WORDS = {"yes": True, "no": False}
_AROUND = " \t\r\n.,!\"'*`"  # what may stand around the word


class JudgeError(Refusal):
    """A server that does not answer, or not as it should; it says which and what to do."""


class _Bearer(requests.auth.AuthBase):
    """The key as a header; given as `auth`, no entry of ~/.netrc takes its place."""

    def __init__(self, key: str) -> None:
        self.key = key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self.key}"
        return request


@dataclass(frozen=True)
class Server:
    """A server, as http://127.0.0.1:8000/v1, and its model; None leaves the model to it."""

    server: str
    model: str | None = None

    @property
    def name(self) -> str:
        """Who gave a verdict."""
        return f"{self.server} {self.model}" if self.model else self.server

    def verdict(self, question: str) -> bool | None:
        """The answer to `question`, at temperature 0: True for yes, False for no, None for any
        other.

        What may pass is tried again. Raises JudgeError.
        """
        return verdict_of(self._said(question))

    def _said(self, question: str) -> str:
        """What the server says, "" where it says nothing."""
        asked: dict[str, Any] = {
            "messages": [{"role": "user", "content": question}],
            "temperature": 0,
            "max_tokens": MOST_TOKENS,
        }
        if self.model:
            asked["model"] = self.model
        try:
            answer = self._posted(asked)
        except requests.RequestException as error:
            raise JudgeError(
                f"evaluation.judge.server = {self.server!r}: {reason(error)}; answers that came "
                "are kept, the same command goes on from there"
            ) from None  # what it holds may show the key
        try:
            said = answer["choices"][0]["message"]["content"]
        except (TypeError, KeyError, IndexError):
            said = 0
        if not isinstance(said, str | None):
            raise JudgeError(
                f"evaluation.judge.server = {self.server!r}: its answer is no chat completion; "
                "name the address in front of /chat/completions"
            )
        return said or ""

    def _posted(self, asked: dict[str, Any]) -> Any:
        """The JSON that the server answers with."""
        key = os.environ.get(KEY, "").strip()
        for attempt in Retrying(
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_exponential(multiplier=download.FIRST_WAIT, max=60 * download.FIRST_WAIT),
            retry=retry_if_exception(may_pass),
            before_sleep=self._tell,
            reraise=True,
        ):
            with attempt:
                answer = requests.post(
                    f"{self.server.rstrip('/')}/chat/completions",
                    json=asked,
                    auth=_Bearer(key) if key else None,
                    timeout=_SECONDS,
                    allow_redirects=False,  # the key is for this server alone
                )
                answer.raise_for_status()
                if answer.is_redirect:
                    raise requests.HTTPError("redirected", response=answer)
                try:
                    return answer.json()
                except requests.JSONDecodeError:
                    return None
        raise AssertionError("the last attempt raises")

    def _tell(self, state: RetryCallState) -> None:
        """Say why an attempt failed, before the next one."""
        if state.outcome and (error := state.outcome.exception()):
            log.warning("%s: %s", self.server, reason(error))


def verdict_of(said: str) -> bool | None:
    """True where an answer is the word yes, False for no, None for anything else."""
    return _WORDS.get(said.strip(_AROUND).casefold())
