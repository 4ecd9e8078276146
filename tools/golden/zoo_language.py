#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/golden/zoo/language/: a tiny random model per case, as
transformers saves it, and what transformers computes with it: logits, loss and
every gradient, by the names of the file.

Documents are run one by one, the loss is the mean over the label tokens of
all. Gradients are put through the same save_pretrained as the weights, so that
they have the names and layouts of files. InternLM2, which transformers does not
have, is computed by a reference of our own (internlm2_reference.py).

Needs: pip install torch transformers safetensors (never in the tests).
Everything is computed in f32 by the classes as they come, but for Mixtral's
and Qwen 3's balance loss: transformers takes one mean over all layers and all
of a batch; per document and layer is ours, by the same function.
Usage: zoo_language.py [REPOSITORY [CASE ...]]
"""
import copy
import hashlib
import json
import pathlib
import shutil
import sys
import tempfile

import safetensors
import safetensors.torch
import torch
import torch.nn.functional as F
import transformers
from transformers import AutoModelForCausalLM
from transformers.models.mixtral.modeling_mixtral import (
    load_balancing_loss_func)

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import internlm2_reference

ROOT = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
OUT = ROOT / "tests/golden/zoo/language"
SEED = 20260
TRIES = 16

SIZES = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=2,
             num_attention_heads=4, num_key_value_heads=2, vocab_size=40,
             max_position_embeddings=64)
EXPERTS = dict(num_experts_per_tok=2, router_aux_loss_coef=0.5)
EAGER = dict(attn_implementation="eager", experts_implementation="eager")
SHORT = [1.0, 1.5]
LONG = [1.25, 4.0]

# case: (family, config, what to write instead in config.json, options)
CASES = {
    "llama": ("llama", dict(num_key_value_heads=4, attention_bias=True,
                            mlp_bias=True, tie_word_embeddings=True), {}, {}),
    "llama_linear": ("llama", dict(num_key_value_heads=1, rope_parameters=dict(
        rope_type="linear", factor=4.0, rope_theta=500.0)), {}, {}),
    "llama_llama3": ("llama", dict(head_dim=16, rope_parameters=dict(
        rope_type="llama3", factor=8.0, low_freq_factor=1.0,
        high_freq_factor=4.0, original_max_position_embeddings=32,
        rope_theta=100.0)), "v4", {}),
    "llama_yarn": ("llama", dict(head_dim=16, rope_parameters=dict(
        rope_type="yarn", factor=4.0, original_max_position_embeddings=16,
        rope_theta=100.0)), "v4", {}),
    "llama_dynamic": ("llama", dict(rope_parameters=dict(
        rope_type="dynamic", factor=2.0, rope_theta=1000.0)), "v4", {}),
    "mistral": ("mistral", dict(head_dim=8, sliding_window=4), {}, {}),
    "mistral_full": ("mistral", dict(sliding_window=None,
                                     tie_word_embeddings=True), {}, {}),
    "mixtral": ("mixtral", dict(num_local_experts=4, head_dim=4, **EXPERTS),
                {}, {}),
    "mixtral_balance": ("mixtral", dict(
        num_local_experts=5, num_experts_per_tok=3, output_router_logits=True,
        sliding_window=5, router_aux_loss_coef=0.5), {}, {}),
    "mixtral_one": ("mixtral", dict(
        num_local_experts=4, output_router_logits=True, num_hidden_layers=1,
        **EXPERTS), {}, dict(lengths=[21], as_the_class=True)),
    "qwen2": ("qwen2", dict(tie_word_embeddings=True,
                            use_sliding_window=False), {}, {}),
    "qwen2_window": ("qwen2", dict(
        num_hidden_layers=3, num_key_value_heads=1, use_sliding_window=True,
        sliding_window=3, max_window_layers=1), {}, {}),
    "qwen2_published": ("qwen2", dict(rope_parameters=dict(
        rope_type="yarn", factor=2.0, original_max_position_embeddings=32,
        rope_theta=1000.0)), "v4", {}),
    "qwen3": ("qwen3", dict(head_dim=8, attention_bias=True), {},
              dict(noise=0.15)),
    "qwen3_tied": ("qwen3", dict(head_dim=6, num_key_value_heads=4,
                                 tie_word_embeddings=True), {}, {}),
    "qwen3_moe": ("qwen3_moe", dict(
        num_hidden_layers=3, num_experts=6, moe_intermediate_size=10,
        mlp_only_layers=[1], norm_topk_prob=True, head_dim=8,
        output_router_logits=True, **EXPERTS), {}, {}),
    "qwen3_moe_sparse": ("qwen3_moe", dict(
        num_hidden_layers=2, num_experts=4, moe_intermediate_size=12,
        decoder_sparse_step=2, norm_topk_prob=False, **EXPERTS), {}, {}),
    "gemma": ("gemma", dict(num_key_value_heads=1, head_dim=8), {}, {}),
    "gemma_gelu": ("gemma", dict(head_dim=4), dict(
        hidden_act="gelu", hidden_activation=None), {}),
    "gemma2": ("gemma2", dict(
        num_hidden_layers=3, head_dim=8, sliding_window=4,
        query_pre_attn_scalar=20, attn_logit_softcapping=2.0,
        final_logit_softcapping=1.5), dict(cache_implementation="hybrid"),
        dict(noise=0.15)),
    "gemma2_untied": ("gemma2", dict(
        head_dim=4, sliding_window=64, tie_word_embeddings=False,
        attention_bias=True), {}, {}),
    "gemma3": ("gemma3_text", dict(
        num_hidden_layers=3, head_dim=8, sliding_window=4,
        query_pre_attn_scalar=20, sliding_window_pattern=3,
        rope_parameters=dict(
            full_attention=dict(rope_type="linear", factor=8.0,
                                rope_theta=1000.0),
            sliding_attention=dict(rope_type="default", rope_theta=50.0))),
        {}, dict(noise=0.15)),
    "gemma3_v4": ("gemma3_text", dict(
        intermediate_size=12, num_hidden_layers=6, head_dim=8,
        num_attention_heads=2, num_key_value_heads=1, sliding_window=5,
        rope_parameters=dict(
            full_attention=dict(rope_type="linear", factor=8.0,
                                rope_theta=1000.0),
            sliding_attention=dict(rope_type="default", rope_theta=50.0))),
        dict(rope_parameters=..., layer_types=..., rope_theta=1000.0,
             rope_local_base_freq=50.0, sliding_window_pattern=6,
             rope_scaling=dict(rope_type="linear", factor=8.0)),
        dict(noise=0.12)),
    "phi3": ("phi3", dict(num_key_value_heads=4, sliding_window=7), {}, {}),
    "phi3_long": ("phi3", dict(
        original_max_position_embeddings=10, rope_parameters=dict(
            rope_type="longrope", short_factor=SHORT, long_factor=LONG,
            rope_theta=100.0)),
        dict(rope_parameters=..., rope_theta=100.0, rope_scaling=dict(
            type="longrope", short_factor=SHORT, long_factor=LONG)), {}),
    "phi3_partial": ("phi3", dict(
        hidden_size=32, tie_word_embeddings=True,
        original_max_position_embeddings=10, rope_parameters=dict(
            rope_type="longrope", short_factor=SHORT, long_factor=LONG,
            rope_theta=100.0, partial_rotary_factor=0.5)), {},
        dict(noise=0.15)),
    "internlm2": ("internlm2", dict(bias=False), {}, {}),
    "internlm2_bias": ("internlm2", dict(
        bias=True, num_key_value_heads=1, rope_theta=1000.0,
        rope_scaling=dict(type="dynamic", factor=2.0)), {}, {}),
    "gpt2": ("gpt2", dict(n_embd=16, n_layer=2, n_head=4, n_positions=32,
                          vocab_size=40), {}, {}),
    "gpt2_untied": ("gpt2", dict(
        n_embd=12, n_layer=2, n_head=2, n_positions=24, n_inner=20,
        vocab_size=41, tie_word_embeddings=False,
        activation_function="gelu", resid_pdrop=0.0, embd_pdrop=0.0,
        attn_pdrop=0.0), {}, dict(strip="transformer.")),
}


def make_model(family, keys):
    if family == "internlm2":
        return internlm2_reference.Model({**SIZES, **keys})
    config_class = transformers.AutoConfig.for_model(family).__class__
    sizes = {} if family == "gpt2" else SIZES
    config = config_class(**{**sizes, "pad_token_id": None, **keys},
                          **EAGER)
    return AutoModelForCausalLM.from_config(config, **EAGER)


def shake(model, noise):
    """Biases of 0 and norms of 1 hide faults: noise on everything. Larger than
    initial values, so that nonlinear parts matter."""
    with torch.no_grad():
        for p in model.parameters():
            p.add_(noise * torch.randn_like(p))
    return model.eval()


def random_text(lengths, vocab, all_labels):
    """ids and shifted labels of documents; a third of the labels is missing."""
    ids, labels = [], []
    for n in lengths:
        document = torch.randint(0, vocab, (n,))
        shifted = torch.full((n,), -100)
        shifted[:-1] = document[1:]
        if not all_labels:
            shifted[torch.rand(n) < 0.33] = -100
        ids.append(document)
        labels.append(shifted)
    return ids, labels


def balance(config, routers):
    """Of one document: the mean over layers of Mixtral's loss."""
    each = [load_balancing_loss_func((r,), config.num_local_experts,
                                     config.num_experts_per_tok)
            for r in routers]
    return sum(each) / len(each)


def run(model, ids, labels):
    """Logits per document and the loss."""
    config = model.config
    n = sum(int((l != -100).sum()) for l in labels)
    logits, loss = [], 0.0
    reports = getattr(config, "output_router_logits", False)
    for i, l in zip(ids, labels):
        more = dict(output_router_logits=True) if reports else {}
        out = model(input_ids=i[None], use_cache=False, **more)
        logits.append(out.logits[0])
        loss = loss + F.cross_entropy(out.logits[0], l, ignore_index=-100,
                                      reduction="sum") / n
        if reports:
            share = int((l != -100).sum()) / n
            routers = [r for r in out.router_logits if r is not None]
            loss = loss + (config.router_aux_loss_coef * share *
                           balance(config, routers))
    return logits, loss


def stored(model):
    """Tensors as save_pretrained writes them."""
    if hasattr(model, "stored"):
        return model.stored()
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        files = sorted(pathlib.Path(folder).glob("*.safetensors"))
        return {k: v for f in files
                for k, v in safetensors.torch.load_file(f).items()}


def gradients(model):
    holder = copy.deepcopy(model)
    with torch.no_grad():
        for a, b in zip(holder.parameters(), model.parameters()):
            a.copy_(b.grad)
    return stored(holder)


def as_v4(config):
    """rope_parameters in the two keys of transformers 4."""
    rope = dict(config.pop("rope_parameters"))
    config["rope_theta"] = rope.pop("rope_theta")
    config["rope_scaling"] = {k: v for k, v in rope.items()
                              if k != "partial_rotary_factor"}
    config.pop("layer_types", None)
    return config


def write_config(model, changes, folder):
    if hasattr(model, "stored"):
        config = model.config_json()
    else:
        model.config.save_pretrained(folder)
        config = json.loads((folder / "config.json").read_text())
    config["architectures"] = [model.__class__.__name__]
    if changes == "v4":
        config = as_v4(config)
    else:
        for key, value in changes.items():
            config[key] = value
            if value is ...:
                del config[key]
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")


def write_weights(model, folder, strip):
    tensors = {k.removeprefix(strip): v.contiguous()
               for k, v in stored(model).items()}
    safetensors.torch.save_file(tensors, folder / "model.safetensors",
                                metadata={"format": "pt"})


def check_round_trip(model, folder, ids, logits, round_trip):
    """The folder as written, loaded by transformers, gives the numbers."""
    if hasattr(model, "stored"):
        return
    again = AutoModelForCausalLM.from_pretrained(folder, **EAGER).eval()
    with torch.no_grad():
        for i, wanted in zip(ids, logits):
            got = again(input_ids=i[None], use_cache=False).logits[0]
            assert torch.equal(got, wanted.detach()), folder
    round_trip.append(folder.name)


def bf16_error(model, ids, labels, logits):
    """How far transformers' own bf16 is from its f32: logits, gradients."""
    other = copy.deepcopy(model).bfloat16()
    other.zero_grad()
    other_logits, loss = run(other, ids, labels)
    loss.backward()
    logits, other_logits = ([x.detach() for x in y]
                            for y in (logits, other_logits))
    wanted = torch.cat([p.grad.flatten() for p in model.parameters()])
    got = torch.cat([p.grad.flatten() for p in other.parameters()]).float()
    a, b = torch.cat(logits), torch.cat(other_logits).float()
    return (float((a - b).norm() / a.norm()),
            float((got - wanted).norm() / wanted.norm()))


def draw(family, keys, lengths, options, seed):
    """A model, its text and numbers. Tiny models may hang on single roundings:
    of TRIES seeds that is taken whose bf16 in transformers is nearest."""
    best = None
    for attempt in range(TRIES):
        torch.manual_seed(seed + 1000 * attempt)
        model = shake(make_model(family, keys), options.get("noise", 0.2))
        ids, labels = random_text(lengths, model.config.vocab_size,
                                  "as_the_class" in options)
        logits, loss = run(model, ids, labels)
        loss.backward()
        error = bf16_error(model, ids, labels, logits)
        if best is None or max(error) < max(best[0]):
            best = error, model, ids, labels, logits, loss
    return best


def make_case(index, name, round_trip):
    family, keys, changes, options = CASES[name]
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    lengths = options.get("lengths", [9, 5, 17])
    error, model, ids, labels, logits, loss = draw(family, keys, lengths,
                                                   options, SEED + index)
    if "as_the_class" in options:
        with torch.no_grad():
            whole = model(input_ids=ids[0][None], labels=ids[0][None],
                          output_router_logits=True).loss
        assert abs(float(whole) - loss.item()) <= 1e-6 * loss.item(), name
    write_config(model, changes, folder)
    write_weights(model, folder, options.get("strip", ""))
    check_round_trip(model, folder, ids, logits, round_trip)
    safetensors.torch.save_file({
        "lengths": torch.tensor(lengths, dtype=torch.int32),
        "ids": torch.cat(ids).int(),
        "labels": torch.cat(labels).int(),
        "logits": torch.cat(logits).detach().contiguous(),
        "loss": loss.detach().reshape(1),
        "bf16": torch.tensor(error),
        **{f"grad.{k}": v.contiguous() for k, v in gradients(model).items()},
    }, folder / "golden.safetensors")
    for path in folder.iterdir():
        path.chmod(0o644)
        assert path.stat().st_size <= 200 * 1024, path


def main():
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    wanted = sys.argv[2:] or list(CASES)
    round_trip = []
    for index, name in enumerate(CASES):
        if name in wanted:
            make_case(index, name, round_trip)
    if sys.argv[2:]:
        return
    files = sorted(p for p in OUT.rglob("*")
                   if p.is_file() and p.name != "PROVENANCE.json")
    (OUT / "PROVENANCE.json").write_text(json.dumps({
        "script": "tools/golden/zoo_language.py",
        "what": "tiny random language models, f32",
        "seed": SEED,
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "safetensors": safetensors.__version__,
        "loaded back by transformers with the same logits, bit by bit":
            round_trip,
        "sha256": {str(p.relative_to(OUT)):
                   hashlib.sha256(p.read_bytes()).hexdigest() for p in files},
    }, indent=1) + "\n")


if __name__ == "__main__":
    main()
