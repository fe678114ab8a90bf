"""What jobs write of themselves: hardware.json and prepared.json, whole or refused by name."""

from dataclasses import asdict

import pytest

from modeledit.io.files import FileError, StateError, read_json, write_json
from modeledit.io.hardware import Hardware, read_hardware, write_hardware
from modeledit.io.prepared import FILE, Agreement, PreparedModel, read_prepared, write_prepared

USED = Hardware(device="CPU", seconds=1.5, peak_device_gb=None, peak_host_gb=0.3, energy_kwh=None)
PREPARED = PreparedModel(
    origin="model.gguf",
    origin_sha256=None,
    weights_sha256="ab",
    tokenizer_sha256="cd",
    files_sha256={"config.json": "ef"},
    agreement=Agreement(12, 1e-5),
    parameters=7,
    transformers="5.0",
)


def test_what_a_job_used_comes_back(tmp_path):
    path = tmp_path / "iter1" / "hardware.json"
    write_hardware(path, USED)
    assert read_hardware(path) == USED


def test_a_job_that_passed_a_stop_on_used_nothing(tmp_path):
    write_hardware(tmp_path / "hardware.json", None)
    assert read_json(tmp_path / "hardware.json") == {}
    assert read_hardware(tmp_path / "hardware.json") is None


@pytest.mark.parametrize("value", [{"device": "CPU"}, vars(USED) | {"more": 1}])
def test_another_file_is_not_what_a_job_used(tmp_path, value):
    path = tmp_path / "hardware.json"
    write_json(path, value)
    with pytest.raises(FileError, match=r"hardware\.json: .*delete the file"):
        read_hardware(path)


def test_a_list_is_not_what_a_job_used(tmp_path):
    write_json(tmp_path / "hardware.json", ["device"])
    with pytest.raises(FileError, match=r"hardware\.json: expected an object.*delete the file"):
        read_hardware(tmp_path / "hardware.json")


def test_a_prepared_model_comes_back(tmp_path):
    write_prepared(tmp_path / "tiny", PREPARED)
    assert read_prepared(tmp_path / "tiny") == PREPARED
    assert read_json(tmp_path / "tiny" / FILE) == asdict(PREPARED)


def test_a_folder_without_the_record_is_named(tmp_path):
    with pytest.raises(StateError, match=rf"{tmp_path}/{FILE}: not there"):
        read_prepared(tmp_path)


def test_a_record_of_something_else_is_named(tmp_path):
    write_json(tmp_path / FILE, asdict(PREPARED) | {"origin": "x", "more": 1})
    with pytest.raises(StateError, match=f"{FILE}: .*weights_sha256.*delete {tmp_path}"):
        read_prepared(tmp_path)
