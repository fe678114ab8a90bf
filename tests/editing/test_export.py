"""Export of an edited model, and digests of states."""

import re

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from modeledit.editing import export
from modeledit.io.files import StateError, read_json
from modeledit.io.matrices import write_matrices
from modeledit.io.state import write_state
from modeledit.lm.model import EditableModel
from tests.editing.tiny_edits import state_of, write_record
from tests.reference import models as tiny

MODELS = {"gpt2": tiny.tiny_gpt2, "gptj": tiny.tiny_gptj, "llama": tiny.tiny_llama}


@pytest.fixture(params=sorted(MODELS))
def run(request, tmp_path):
    """A prepared tiny model and a run that stopped at k = 1 and passed the stop on to k = 2."""
    base = tmp_path / "base"
    model = MODELS[request.param]()
    model.save_pretrained(base)
    tiny.tiny_tokenizer(bos=request.param == "llama").save_pretrained(base)
    write_record(base, "f00d")
    editable = EditableModel(model)
    matrix = editable.down_weight(1).numpy() + 0.5
    for k, passed_on in ((1, False), (2, True)):
        folder = tmp_path / "MEMIT" / "trial1" / f"iter{k}"
        matrices = {} if passed_on else {editable.down_name(1): matrix}
        identity = {"base": "f00d", "method": "MEMIT", "k": str(k)}
        write_matrices(folder / "edited.safetensors", matrices, identity)
        write_state(folder / "state.json", state_of(k, held_by=1, passed_on=passed_on))
    return base, tmp_path / "MEMIT" / "trial1", matrix


@pytest.mark.parametrize("k", [1, 2])
def test_the_exported_model_holds_the_edited_matrix_and_is_read_by_transformers(run, tmp_path, k):
    base, folder, matrix = run
    out = tmp_path / "out"
    record = export.export_model(base, folder / f"iter{k}" / "state.json", out, "MEMIT")
    assert record == read_json(out / "edited.json") and record["k"] == 1
    exported = EditableModel(AutoModelForCausalLM.from_pretrained(out, use_safetensors=True))
    torch.testing.assert_close(exported.down_weight(1), torch.from_numpy(matrix), rtol=0, atol=0)
    before = AutoModelForCausalLM.from_pretrained(base)
    ids = AutoTokenizer.from_pretrained(out)("The city is", return_tensors="pt").input_ids
    assert not torch.equal(exported.model(ids).logits, before(ids).logits)
    unedited = EditableModel(before).down_weight(0)
    torch.testing.assert_close(exported.down_weight(0), unedited, rtol=0, atol=0)


def test_a_state_of_another_model_or_method_is_refused(run, tmp_path):
    base, folder, _ = run
    with pytest.raises(StateError, match="method is 'MEMIT', this run needs 'PMET'"):
        export.export_model(base, folder / "iter1" / "state.json", tmp_path / "out", "PMET")
    write_record(base, "beef")
    with pytest.raises(StateError, match="base is 'f00d', this run needs 'beef'"):
        export.export_model(base, folder / "iter1" / "state.json", tmp_path / "out", "MEMIT")
    assert not (tmp_path / "out").exists()


def test_a_model_that_is_read_back_as_another_is_refused(run, tmp_path, monkeypatch):
    base, folder, _ = run
    read, out = export.load_model, tmp_path / "out"

    def damaged(path):
        model, tokenizer = read(path)
        if path == out:
            model.write_down_weight(0, model.down_weight(0) + 0.01)
        return model, tokenizer

    monkeypatch.setattr(export, "load_model", damaged)
    with pytest.raises(StateError, match="out: read back, .* differently by up to .* delete the"):
        export.export_model(base, folder / "iter1" / "state.json", out, "MEMIT")
    assert not (out / "edited.json").exists()


def test_digests_compare_states_by_content(run, tmp_path, capsys):
    _, folder, matrix = run
    one, two = str(folder / "iter1"), str(folder / "iter2")
    assert export.main([one, two]) == 0  # passed on: the same matrices
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"[0-9a-f]{64}  .*iter1", lines[0]) and lines[2] == "equal"
    other = tmp_path / "other" / "iter1"
    changed = matrix.copy()
    changed[0, 0] = np.nextafter(changed[0, 0], np.float32(9))
    name = next(iter(export.tensor_digests(folder / "iter1" / "edited.safetensors")))
    write_matrices(other / "edited.safetensors", {name: changed}, {"any": "thing"})
    write_state(other / "state.json", state_of(1))
    assert export.main([one, str(other)]) == 1
    assert f"different: {name}" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        export.main([str(tmp_path)])
    assert "no state.json there" in capsys.readouterr().err
