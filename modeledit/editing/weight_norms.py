"""How far edits have moved the weights, layer by layer."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch

from modeledit.lm.model import EditableModel


def weight_norms(model: EditableModel, edited: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """One row per edited layer: `layer`, `norm` of the edited matrix, and `change`.

    Frobenius norms; `change` is that of the difference, as a share of the norm before. `model` is
    unedited, `edited` holds matrices by their names in it.
    """
    names = {model.down_name(layer): layer for layer in range(model.depth)}
    rows = []
    for name, matrix in edited.items():
        before = model.down_weight(names[name]).double().cpu()
        after = torch.from_numpy(matrix).double()
        change = float((after - before).norm() / before.norm())
        rows.append({"layer": names[name], "norm": float(after.norm()), "change": change})
    return pd.DataFrame(rows, columns=["layer", "norm", "change"]).sort_values("layer")
