"""Reference logits for the model families, from transformers on the CPU.

Run by hand; the output is committed and read by the tests of crates/models:

    python -m venv venv && venv/bin/pip install torch transformers
    venv/bin/python scripts/reference/reference.py crates/models/tests/reference

A case is a tiny model: a `config.json`, and weights that are a hash of each tensor's name (the
generator of crates/models/src/weights/random.rs), so that only logits are stored. Each case runs
twice over the same 64 tokens:

* `short`: positions 0 to 63, transformers untouched;
* `long`: positions up to 131072. The rotation's angles are replaced by ones computed here in f64 from
  the published formulas, since products of f32 are wrong by 1e-2 there. The frequencies are first
  compared with those that transformers arrives at for the same length.

Stored are the logits of every fourth row, f32.
"""

import json
import math
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from transformers import AutoConfig, AutoModelForCausalLM

TOKENS, ROWS, LAST = 64, slice(3, None, 4), 131072
BASE = dict(
    hidden_size=32, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, intermediate_size=64,
    vocab_size=97, max_position_embeddings=262144, rms_norm_eps=1e-5, hidden_act="silu", tie_word_embeddings=False,
    pad_token_id=0, eos_token_id=1,
)  # fmt: skip
SHORT, LONG = [1.0, 1.0, 1.25, 1.5], [1.0, 2.0, 8.0, 31.5]
LONGROPE = dict(type="longrope", short_factor=SHORT, long_factor=LONG)
GEMMA = dict(
    BASE, model_type="gemma3_text", num_hidden_layers=4, head_dim=16, query_pre_attn_scalar=24, sliding_window=16,
    tie_word_embeddings=True, hidden_activation="gelu_pytorch_tanh", hidden_act=None,
)  # fmt: skip


def llama(**rope):
    return dict(BASE, model_type="llama", **rope)


CASES = {
    "llama": llama(rope_theta=10000.0, rope_scaling=None),
    "llama-new-keys": llama(rope_parameters=dict(rope_type="default", rope_theta=500000.0)),
    "llama-tied": dict(llama(rope_theta=100000.0), tie_word_embeddings=True),
    "llama-linear": llama(rope_theta=10000.0, rope_scaling=dict(type="linear", factor=4.0)),
    "llama-dynamic": dict(
        llama(rope_theta=10000.0, rope_scaling=dict(type="dynamic", factor=2.0)), max_position_embeddings=32
    ),
    "llama-llama3": llama(
        rope_theta=10000.0,
        rope_scaling=dict(
            rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
            original_max_position_embeddings=1024,
        ),
    ),  # fmt: skip
    "llama-yarn": llama(
        rope_parameters=dict(
            rope_type="yarn", rope_theta=10000.0, factor=32.0, original_max_position_embeddings=4096
        )
    ),
    "llama-yarn-options": llama(
        rope_parameters=dict(
            rope_type="yarn", rope_theta=10000.0, factor=16.0, original_max_position_embeddings=4096, beta_fast=20.0,
            beta_slow=0.5, truncate=False, mscale=0.7, mscale_all_dim=1.3,
        )
    ),  # fmt: skip
    "mistral-nemo": dict(BASE, model_type="mistral", head_dim=16, rope_theta=1000000.0, sliding_window=None),
    "mistral-window": dict(BASE, model_type="mistral", rope_theta=10000.0, sliding_window=16),
    "qwen2": dict(BASE, model_type="qwen2", rope_theta=1000000.0, use_sliding_window=False, sliding_window=16),
    "qwen2-window": dict(
        BASE, model_type="qwen2", rope_theta=10000.0, use_sliding_window=True, sliding_window=16, max_window_layers=1
    ),
    "qwen2-yarn": dict(
        BASE, model_type="qwen2", rope_theta=1000000.0, max_position_embeddings=32768,
        rope_scaling=dict(type="yarn", factor=4.0, original_max_position_embeddings=32768),
    ),  # fmt: skip
    "qwen3": dict(BASE, model_type="qwen3", head_dim=16, rope_theta=1000000.0),
    "phi3": dict(BASE, model_type="phi3", rope_theta=10000.0, sliding_window=None),
    "phi3-longrope": dict(
        BASE, model_type="phi3", rope_theta=10000.0, rope_scaling=LONGROPE,
        original_max_position_embeddings=4096, max_position_embeddings=131072,
    ),  # fmt: skip
    "phi3-partial": dict(
        BASE, model_type="phi3", rope_theta=10000.0, partial_rotary_factor=0.75,
        original_max_position_embeddings=32, max_position_embeddings=131072,
        rope_scaling=dict(type="longrope", short_factor=SHORT[:3], long_factor=LONG[:3]),
    ),  # fmt: skip
    "gemma3": dict(
        GEMMA, sliding_window_pattern=2, rope_theta=1000000.0, rope_local_base_freq=10000.0,
        rope_scaling=dict(rope_type="linear", factor=8.0),
    ),  # fmt: skip
    "gemma3-new-keys": dict(
        GEMMA,
        layer_types=["full_attention", "sliding_attention", "sliding_attention", "full_attention"],
        rope_parameters=dict(
            full_attention=dict(rope_type="linear", factor=4.0, rope_theta=1000000.0),
            sliding_attention=dict(rope_type="default", rope_theta=10000.0),
        ),
    ),
    "granite": dict(
        BASE, model_type="granite", rope_theta=10000.0, embedding_multiplier=12.0, attention_multiplier=0.125,
        residual_multiplier=0.22, logits_scaling=8.0,
    ),  # fmt: skip
    "granite-plain": dict(BASE, model_type="granite", rope_parameters=dict(rope_type="default", rope_theta=10000.0)),
}


def stream(name, count):
    """splitmix64, seeded with the FNV-1a-64 hash of a name."""
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = (seed ^ byte) * 0x100000001B3 % 2**64
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def weight(name, shape, gemma):
    """Values by the tensor's name alone, exact in f32."""
    unit = (stream(name, math.prod(shape)) >> np.uint64(40)).astype(np.float64) / 2**23 - 1.0
    if "norm" in name:
        unit = unit * 0.25 + (0.0 if gemma else 1.0)
    elif "embed_tokens" not in name:
        unit *= 0.5 if any(part in name for part in ("q_proj", "k_proj", "qkv_proj")) else 0.25
    return torch.from_numpy(unit.astype(np.float32).reshape(shape))


def frequencies(config, rope, head_dim, length):
    """Frequencies in f64 and the factor on cosine and sine, by the published formulas."""
    dims = int(head_dim * rope.get("partial_rotary_factor", 1.0))
    base, kind, factor = rope["rope_theta"], rope["rope_type"], rope.get("factor")
    original, claimed = rope.get("original_max_position_embeddings"), config.max_position_embeddings
    if kind == "dynamic":
        base *= (factor * max(length, claimed) / claimed - (factor - 1)) ** (dims / (dims - 2))
    freq = base ** (-np.arange(0, dims, 2, dtype=np.float64) / dims)
    if kind in ("default", "dynamic"):
        return freq, 1.0
    if kind == "linear":
        return freq / factor, 1.0
    if kind == "longrope":
        stretch = claimed / original
        table = rope["long_factor"] if length > original else rope["short_factor"]
        return freq / np.array(table), math.sqrt(1 + math.log(stretch) / math.log(original))
    if kind == "llama3":
        wavelength = 2 * math.pi / freq
        low, high = original / rope["low_freq_factor"], original / rope["high_freq_factor"]
        smooth = (original / wavelength - rope["low_freq_factor"]) / (rope["high_freq_factor"] - rope["low_freq_factor"])
        blended = (1 - smooth) * freq / factor + smooth * freq
        return np.where(wavelength > low, freq / factor, np.where(wavelength < high, freq, blended)), 1.0
    assert kind == "yarn", kind
    border = lambda turns: dims * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(base))
    low, high = border(rope.get("beta_fast") or 32), border(rope.get("beta_slow") or 1)
    if rope.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dims - 1)
    slow = np.clip((np.arange(dims // 2) - low) / (high - low), 0, 1)
    temperature = lambda by: 0.1 * by * math.log(factor) + 1.0
    magnitude = temperature(1.0)
    if rope.get("mscale") and rope.get("mscale_all_dim"):
        magnitude = temperature(rope["mscale"]) / temperature(rope["mscale_all_dim"])
    return freq * (1 - slow) + freq / factor * slow, magnitude


def logits(model, ids, positions):
    with torch.no_grad():
        # A mask of ones keeps transformers from taking gaps between positions for packed sequences.
        out = model(
            input_ids=ids, position_ids=positions, attention_mask=torch.ones_like(ids), use_cache=False
        ).logits
    return out[0].numpy()


def exact_rotation(model, config, length):
    """Makes the rotation exact at any position, having compared its frequencies with the model's own."""
    rotary = model.model.rotary_emb
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    nested = "full_attention" in config.rope_parameters
    tables = {}
    for kind in ("full_attention", "sliding_attention") if nested else (None,):
        rope = config.rope_parameters[kind] if nested else config.rope_parameters
        freq, magnitude = frequencies(config, rope, head_dim, length)
        own = getattr(rotary, f"{kind}_inv_freq" if nested else "inv_freq").double().numpy()
        scaling = getattr(rotary, f"{kind}_attention_scaling" if nested else "attention_scaling")
        assert np.allclose(own, freq, rtol=1e-5) and math.isclose(scaling, magnitude, rel_tol=1e-6), (own, freq)
        tables[kind] = torch.from_numpy(freq), magnitude

    def forward(x, position_ids, layer_type=None):
        freq, magnitude = tables[layer_type]
        angles = position_ids[..., None].double() * freq
        angles = torch.cat((angles, angles), dim=-1)
        return (angles.cos() * magnitude).to(x.dtype), (angles.sin() * magnitude).to(x.dtype)

    rotary.forward = forward


def run(name, settings):
    config = AutoConfig.for_model(**json.loads(json.dumps(settings)))
    config._attn_implementation = "eager"
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    gemma = settings["model_type"].startswith("gemma")
    shapes = {key: list(value.shape) for key, value in model.state_dict().items()}
    if settings["tie_word_embeddings"]:
        del shapes["lm_head.weight"]
    state = {key: weight(key, shape, gemma) for key, shape in shapes.items()}
    missing = model.load_state_dict(state, strict=False)
    assert not missing.unexpected_keys and set(missing.missing_keys) <= {"lm_head.weight"}, missing
    model.tie_weights()
    model.double()
    ids = torch.from_numpy((stream("input_ids", TOKENS) % np.uint64(97)).astype(np.int64))[None]
    windowed = settings.get("sliding_window") and settings.get("use_sliding_window", True)
    if windowed:  # transformers counts a window in rows, not in positions
        far = torch.arange(LAST - TOKENS + 1, LAST + 1)[None]
    else:
        far = torch.tensor([i * LAST // (TOKENS - 1) for i in range(TOKENS)])[None]
    out = {"short": logits(model, ids, torch.arange(TOKENS)[None])}
    logits(model, ids, far)  # lets frequencies that depend on the length settle
    exact_rotation(model, config, LAST + 1)
    out["long"] = logits(model, ids, far)
    case = dict(config=settings, tensors=shapes, long_positions=far[0].tolist())
    print(f"{name:20} {out['short'][-1][:3]} {out['long'][-1][:3]}")
    return case, {f"{name}.{key}": value[ROWS].astype(np.float32) for key, value in out.items()}


def main(folder):
    cases, tensors = {}, {}
    for name, settings in CASES.items():
        settings = {key: value for key, value in settings.items() if value is not None}
        cases[name], logits_of_case = run(name, settings)
        tensors |= logits_of_case
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(case)}" for name, case in cases.items())
    (folder / "cases.json").write_text("{\n" + lines + "\n}\n")
    save_file(tensors, folder / "logits.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
