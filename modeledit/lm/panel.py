"""The panel: facts that nobody edited, put to a model, to see what else an edit moved."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from transformers import PreTrainedTokenizerBase

from modeledit.data.requests import Neighbor
from modeledit.evaluation.schemas import PANEL
from modeledit.lm.model import EditableModel
from modeledit.lm.tokens import decode, target_row
from modeledit.lm.trees import label_outputs


def ask_panel(
    model: EditableModel,
    tokenizer: PreTrainedTokenizerBase,
    facts: Sequence[Neighbor],
    token_budget: int,
) -> pd.DataFrame:
    """What a model says of each of `facts`, with the columns of PANEL.

    `said` is the object where the model says all of it, as the neighbor filter judges (SPEC D.2);
    else its answer up to the first token that is another one, since what it says behind that is
    about the object and not its own. `probability` is that of the fact's object.
    """
    rows = [target_row(tokenizer, fact.text, fact.target) for fact in facts]
    said = label_outputs(model, rows, token_budget)
    return pd.DataFrame(
        [
            (
                fact.text,
                fact.subject or "",
                fact.target,
                decode(tokenizer, _own_words(row.labels, answer.argmax.tolist())).strip(),
                float(np.exp(answer.log_p.double().sum().item())),
            )
            for fact, row, answer in zip(facts, rows, said, strict=True)
        ],
        columns=list(PANEL.names),
    )


def _own_words(labels: Sequence[int], said: list[int]) -> list[int]:
    """What was `said` up to the first token that is not the label there."""
    pairs = enumerate(zip(labels, said, strict=True), start=1)
    return said[: next((i for i, (label, token) in pairs if label != token), len(said))]
