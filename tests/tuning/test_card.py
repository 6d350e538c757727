"""What a card tells of an adapter before it is put on a model."""

from helpers.models.adapters import CONFIG
from helpers.models.load import identify_model
from helpers.models.wheels import WHEEL_MODELS, name_upstream
from helpers.tuning.card import CARD, describe_adapter, describe_merged, list_cautions, list_format_cautions
from helpers.tuning.settings import TuningSettings

FACTS = dict.fromkeys(("n_rows", "n_too_long", "n_tokens", "n_response_tokens"), 3)
FACTS |= {"n_trainable": 2, "n_weights": 9, "n_steps": 1, "hardware": "cpu"}
MODEL = TuningSettings.model


def write_card(folder, identity=WHEEL_MODELS[MODEL].sha256, **settings):
    folder.mkdir(exist_ok=True)
    (folder / CONFIG).touch()
    inputs = {"instructions": "a", "model": identity}
    card = describe_adapter(TuningSettings(**settings), inputs, FACTS, [{"loss": 2.0}])
    (folder / CARD).write_text(card)
    return folder


def test_an_adapter_asked_in_another_form_than_its_own_is_told(tmp_path):
    chat = write_card(tmp_path / "a", prompt_format="chat")
    (said,) = list_cautions(chat, MODEL, "alpaca")
    assert "tuned with prompt_format 'chat', and is asked in 'alpaca'" in said
    assert list_cautions(chat, MODEL, "chat") == list_cautions(chat, MODEL) == []
    assert list_cautions(write_card(tmp_path / "b"), MODEL, "alpaca") == []
    merged = tmp_path / "merged"
    merged.mkdir()
    (merged / CARD).write_text(describe_merged(MODEL, "b", "c", chat))
    assert list_format_cautions(merged, "alpaca")[0].endswith("ask it as it was tuned.")
    assert list_format_cautions(merged, "chat") == []


def test_an_adapter_tuned_on_other_weights_is_told_of_quantised_ones(tmp_path):
    of_hub = f"{name_upstream(MODEL)}@1"
    (said,) = list_cautions(write_card(tmp_path / "a", of_hub, model=name_upstream(MODEL)), MODEL)
    assert "was not tuned on these" in said
    assert f"--model {name_upstream(MODEL)}" in said
    (tmp_path / CONFIG).touch()
    (tmp_path / CARD).write_text("# My adapter")
    (said,) = list_cautions(tmp_path, MODEL, "alpaca")
    assert "does not say that it was tuned on these" in said
    (tmp_path / CARD).unlink()
    assert list_cautions(tmp_path, MODEL) == [said]
    (tmp_path / CONFIG).unlink()
    assert list_cautions(tmp_path, MODEL) == []  # what loads it says what is wrong


def test_an_adapter_tuned_on_another_model_is_told_whatever_its_folder_is_called(tmp_path, toy_model):
    own, other, hub = (
        write_card(tmp_path / name, one)
        for name, one in (("a", identify_model(toy_model)), ("b", "c"), ("d", "owner/model@1"))
    )
    assert list_cautions(own, toy_model) == []
    assert "was tuned on other weights than those of" in list_cautions(other, toy_model)[0]
    assert "may have been tuned on other weights" in list_cautions(hub, toy_model)[0]
    assert "was tuned on other weights" in list_cautions(other, MODEL)[0]
    (other / CARD).unlink()
    assert list_cautions(other, toy_model) == []
