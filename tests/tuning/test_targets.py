"""Which layers of a model get an adapter."""

import pytest

from helpers.tuning.lora import attach_adapter
from helpers.tuning.settings import TuningSettings


@pytest.fixture
def seeing_model():
    """Make a small Gemma 3 of texts and images."""
    from transformers import AutoModelForCausalLM, Gemma3Config, Gemma3TextConfig, SiglipVisionConfig

    size = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2}
    text = Gemma3TextConfig(vocab_size=64, num_hidden_layers=2, num_key_value_heads=1, head_dim=8, **size)
    vision = SiglipVisionConfig(num_hidden_layers=1, image_size=28, patch_size=14, **size)
    config = Gemma3Config(text_config=text.to_dict(), vision_config=vision.to_dict(), mm_tokens_per_image=4)
    return AutoModelForCausalLM.from_config(config)


@pytest.mark.parametrize(("targets", "n_layers"), [("all-linear", 14), ("q_proj+v_proj", 4)])
def test_a_tower_that_no_text_runs_through_gets_no_adapter(seeing_model, targets, n_layers):
    settings = TuningSettings(lora_rank=2, target_modules=targets)
    model = attach_adapter(seeing_model, settings)
    learnt = [name for name, weight in model.named_parameters() if weight.requires_grad]
    assert len(learnt) == 2 * n_layers
    assert all("language_model" in name for name in learnt)


def test_the_configuration_of_a_model_of_texts_alone_excludes_nothing(toy_model):
    from helpers.models.load import load_model

    model = attach_adapter(load_model(toy_model), TuningSettings(lora_rank=2))
    assert model.peft_config["default"].exclude_modules is None
