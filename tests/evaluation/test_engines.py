"""Choice and generation: the same answers as the plain way, whatever the batch."""

import pytest
import torch

from helpers.errors import StudyError
from helpers.evaluation import generation
from helpers.evaluation.choice import score_options
from helpers.evaluation.generation import generate_greedily
from helpers.evaluation.prefix import count_shared
from helpers.models.load import load_model

PROMPTS = [[0, 9, 8, 7, 5, 30, 31], [0, 9, 8, 7, 5, 6], [0, 9, 8, 7, 40, 41, 42, 43, 44, 45]]
OPTIONS = [[[10], [11, 12, 13]], [[14, 15], [16], [17, 18]], [[10], [19]]]


@pytest.fixture
def model(toy_model):
    return load_model(toy_model)


@pytest.fixture
def windowed_model():
    """Make a model whose layers see a window alone, in turn, as Gemma 3 does; the window is shorter than the
    prompts.
    """
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    torch.manual_seed(0)
    config = Gemma3TextConfig(
        vocab_size=100,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        sliding_window=4,
        layer_types=["sliding_attention", "full_attention"],
        initializer_range=0.2,
    )
    return Gemma3ForCausalLM(config).eval()


def score_plainly(model, prompt, option):
    with torch.inference_mode():
        logits = torch.log_softmax(model(torch.tensor([prompt + option])).logits[0].float(), dim=-1)
    return sum(logits[len(prompt) - 1 + k, token].item() for k, token in enumerate(option)) / len(option)


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_options_score_as_if_each_stood_alone(model, batch_size):
    scores = score_options(model, list(zip(PROMPTS, OPTIONS, strict=True)), batch_size)
    for prompt, options, found in zip(PROMPTS, OPTIONS, scores, strict=True):
        assert found == pytest.approx([score_plainly(model, prompt, option) for option in options], abs=1e-5)


def test_options_score_alike_where_layers_see_a_window(windowed_model):
    scores = score_options(windowed_model, list(zip(PROMPTS, OPTIONS, strict=True)), 3)
    for prompt, options, found in zip(PROMPTS, OPTIONS, scores, strict=True):
        assert found == pytest.approx(
            [score_plainly(windowed_model, prompt, option) for option in options], abs=1e-5
        )


@pytest.mark.parametrize("batch_size", [1, 2, 3])
@pytest.mark.parametrize("kind", ["model", "windowed_model"])
def test_generation_gives_what_transformers_generates(kind, batch_size, request):
    model, plain = request.getfixturevalue(kind), []
    for prompt in PROMPTS:
        ids = torch.tensor([prompt])
        out = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=12,
            do_sample=False,
            eos_token_id=1,
            pad_token_id=1,
        )[0, len(prompt) :]
        plain.append([token for token in out.tolist() if token != 1])
    assert generate_greedily(model, PROMPTS, 12, [1], batch_size) == plain


def test_a_batch_that_fills_the_gpu_is_continued_in_halves(model, monkeypatch):
    whole = generate_greedily(model, PROMPTS, 6, [1], 3)
    own, sizes, most = generation._continue, [], [1]

    def fill(model, shared, prompts, *given):
        sizes.append(len(prompts))
        if len(prompts) > most[0]:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return own(model, shared, prompts, *given)

    monkeypatch.setattr(generation, "_select_method", lambda *_: fill)
    monkeypatch.setattr(generation, "_continue", fill)
    assert generate_greedily(model, PROMPTS, 6, [1], 3) == whole
    assert sizes == [3, 1, 2, 1, 1]
    most[0] = 0
    with pytest.raises(StudyError, match="tokens and its continuation do not fit into the GPU's memory"):
        generate_greedily(model, PROMPTS, 6, [1], 3)


def test_generation_stops_at_the_end_of_text_and_the_others_go_on(model):
    runs = (generate_greedily(model, PROMPTS, 12, [end_id], batch_size=3) for end_id in range(400))
    free = next(run for run in runs if all(len(tokens) == 12 for tokens in run))
    end = next(token for token in free[0] if token not in free[2])
    stopped = generate_greedily(model, PROMPTS, 12, [end], batch_size=3)
    assert stopped[0] == free[0][: free[0].index(end)]
    assert stopped[2] == free[2]
    unused = next(token for token in range(400) if not any(token in tokens for tokens in free))
    assert generate_greedily(model, PROMPTS, 12, [unused, end], batch_size=3) == stopped
    for alone in (generation._generate_alone, generation._read_again):
        assert alone(model, PROMPTS[0], 12, [unused, end]) == stopped[0]


@pytest.mark.parametrize("n_new", [2, 6])
def test_a_gpu_is_waited_for_once_a_token_and_once_a_batch_of_choices(model, monkeypatch, n_new):
    generate_greedily(model, PROMPTS, n_new, [1], 3)  # finds out how the model is asked
    score_options(model, list(zip(PROMPTS, OPTIONS, strict=True)), 3)
    waits = []
    for name in ("tolist", "item", "nonzero", "cpu"):
        own = getattr(torch.Tensor, name)
        monkeypatch.setattr(
            torch.Tensor, name, lambda tensor, *args, own=own: waits.append(1) or own(tensor, *args)
        )
    n_tokens = max(map(len, generate_greedily(model, PROMPTS, n_new, [1], 3)))
    assert len(waits) == n_tokens == n_new
    waits.clear()
    score_options(model, list(zip(PROMPTS, OPTIONS, strict=True)), 3)
    assert len(waits) == 1


def test_prompts_share_what_they_begin_with_and_keep_one_token_each():
    assert count_shared(PROMPTS) == 4
    assert count_shared([[1, 2, 3], [1, 2, 3]]) == 2
    assert count_shared([[1], [1, 2]]) == 0
