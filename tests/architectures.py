"""Tiny random models of the causal architectures that transformers ships."""

SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "pad_token_id": 0,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "max_position_embeddings": 64,
    "sliding_window": 6,
    "use_sliding_window": True,
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "use_mamba_kernels": False,
    "initializer_range": 0.2,
}
OWN = {  # what an architecture asks for beside these sizes
    "granite": {"logits_scaling": 8.0, "embedding_multiplier": 12.0},
    "cohere": {"logit_scale": 0.25},
    "gpt_neo": {"num_layers": 2, "attention_types": [[["global", "local"], 1]], "window_size": 6},
    "starcoder2": {"sliding_window": 6},
    "gptj": {"rotary_dim": 4},
    "codegen": {"rotary_dim": 4},
    "falcon_h1": {"mamba_chunk_size": 8, "mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_ssm": 64},
    "jamba": {"num_hidden_layers": 8},
    "lfm3": {"num_hidden_layers": 8},
    "bailing_hybrid": {"num_hidden_layers": 8},
    "qwen3_next": {"num_hidden_layers": 4},
    "qwen3_5_text": {"num_hidden_layers": 4},
    "qwen3_5_moe_text": {"num_hidden_layers": 4},
    "qwen4_exp_text": {"num_hidden_layers": 4},
    "recurrent_gemma": {"num_hidden_layers": 3},
    "mamba2": {"num_heads": 8, "head_dim": 8, "expand": 2, "n_groups": 2, "state_size": 8, "chunk_size": 4},
}
MOST_WEIGHTS = 5_000_000


def make_model(name: str, **settings):
    """Return a random model of an architecture, or None where it cannot be made this small."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    usual = AutoConfig.for_model(name)
    known = set(usual.to_dict()) | set(getattr(usual, "attribute_map", {}))
    sizes = {key: value for key, value in SIZES.items() if key in known} | OWN.get(name, {}) | settings
    config = AutoConfig.for_model(name, **sizes)
    with torch.device("meta"):
        n_weights = sum(weight.numel() for weight in AutoModelForCausalLM.from_config(config).parameters())
    if n_weights > MOST_WEIGHTS:
        return None
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config).eval()
