#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/golden/forward/: tiny random models as transformers saves them,
the tensors that `cornstarch forward` reads, and what transformers answers.

    <case>/model/               config.json, model.safetensors
    <case>/input.safetensors    as for the model's own forward()
    <case>/wanted.safetensors   logits (0 where attention_mask is 0) or
                                last_hidden_state, loss, grad.<stored name>
                                (transformers 4's: with "vision_model.")

Needs: pip install torch transformers safetensors (never in the tests).
Everything is computed in f32 by the classes as they come; nothing is patched.
With the program in CORNSTARCH, what `cornstarch convert --to llava` makes of
the run is loaded by LlavaForConditionalGeneration; what came of it is in the
provenance.
Usage: [CORNSTARCH=PROGRAM] forward.py [REPOSITORY]
"""
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import safetensors
import safetensors.torch
import torch
import transformers
from transformers import (AutoConfig, AutoModelForCausalLM, CLIPVisionConfig,
                          CLIPVisionModel, Gemma2Config, GPT2Config, LlamaConfig,
                          LlavaConfig, LlavaForConditionalGeneration,
                          MixtralConfig, PixtralVisionConfig, PixtralVisionModel,
                          SiglipVisionConfig, SiglipVisionModel, WhisperConfig)
from transformers.models.qwen2_vl.configuration_qwen2_vl import Qwen2VLVisionConfig
from transformers.models.qwen2_vl.modeling_qwen2_vl import (
    Qwen2VisionTransformerPretrainedModel)
from transformers.models.whisper.modeling_whisper import WhisperEncoder

ROOT = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
OUT = ROOT / "tests/golden/forward"
SEED = 3020

TEXT = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, head_dim=8,
            vocab_size=40, max_position_embeddings=64,
            attn_implementation="eager")


def shake(model):
    """Biases of 0 and norms of 1 hide faults: noise on everything."""
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return model.eval()


def save(path, tensors):
    safetensors.torch.save_file(
        {k: v.detach().contiguous() for k, v in tensors.items()}, path)


def begin(name, model, seed):
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "model").mkdir(parents=True)
    model.save_pretrained(folder / "model")
    (folder / "model/generation_config.json").unlink(missing_ok=True)
    torch.manual_seed(SEED + seed)
    return folder


def stored_gradients(model, folder):
    """Gradients under the names and in the pieces of the saved file: parameters
    that transformers fuses in memory are found by the equal values."""
    file = safetensors.torch.load_file(folder / "model/model.safetensors")
    own = {n: (p.detach(), p.grad) for n, p in model.named_parameters()}
    out = {}
    for name, value in file.items():
        for candidate in (name, name.removeprefix("vision_model."),
                          name.removeprefix("transformer.")):
            if candidate in own:
                break
        if candidate in own:
            found = own[candidate][1]
        else:
            found = find_piece(value, own)
        if found is not None:
            out["grad." + name] = found
    assert len(out) == len(file), (len(out), len(file))
    return out


def find_piece(value, own):
    """The gradient of a file's matrix that has another name in memory, or lies
    inside a fused [E, out, in]."""
    for p, grad in own.values():
        if p.shape == value.shape and torch.equal(p, value):
            return grad
        if p.dim() != 3:
            continue
        for e in range(p.shape[0]):
            for rows in range(0, p.shape[1], value.shape[0]):
                cut = slice(rows, rows + value.shape[0])
                if p[e, cut].shape == value.shape and torch.equal(p[e, cut], value):
                    return grad[e, cut]
    return None


def finish(folder, given, wanted, note, **more):
    save(folder / "input.safetensors", given)
    save(folder / "wanted.safetensors", wanted)
    for path in folder.rglob("*.safetensors"):
        path.chmod(0o644)
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    (folder / "provenance.json").write_text(json.dumps({
        "script": "tools/golden/forward.py",
        "what": note,
        "seed": SEED,
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "safetensors": safetensors.__version__,
        **more,
        "sha256": {str(p.relative_to(folder)):
                   hashlib.sha256(p.read_bytes()).hexdigest() for p in files},
    }, indent=2) + "\n")
    for path in folder.rglob("*"):
        assert path.stat().st_size <= 200 * 1024, path


def random_labels(ids):
    labels = ids.clone()
    labels[torch.rand(ids.shape) < 0.3] = -100
    return labels


def language_model(name, config, seed, kind="padded"):
    """padded: three rows, one padded on each side. packed: one row of three
    documents by position_ids. flat: one document [T]."""
    torch.manual_seed(SEED + seed)
    model = shake(AutoModelForCausalLM.from_config(config, attn_implementation="eager"))
    folder = begin(name, model, seed)
    vocab = config.vocab_size
    given, shown = {}, None
    if kind == "padded":
        ids = torch.randint(0, vocab, (3, 9))
        mask = torch.ones_like(ids)
        mask[1, 6:] = 0
        mask[2, :4] = 0
        labels = random_labels(ids)
        labels[mask == 0] = -100
        labels[2, 4] = -100  # its logits would be those of padding
        given = {"input_ids": ids, "labels": labels, "attention_mask": mask}
        shown = mask.bool()
    elif kind == "packed":
        position = torch.cat([torch.arange(n) for n in (5, 1, 8)])[None]
        ids = torch.randint(0, vocab, position.shape)
        given = {"input_ids": ids, "labels": random_labels(ids),
                 "position_ids": position}
    else:
        ids = torch.randint(0, vocab, (13,))
        given = {"input_ids": ids, "labels": random_labels(ids)}
    batch = {k: v[None] if v.dim() == 1 else v for k, v in given.items()}
    out = model(**batch, use_cache=False)
    out.loss.backward()
    logits = out.logits if shown is None else out.logits * shown[..., None]
    if kind == "flat":
        logits = logits[0]
    finish(folder, given, {"logits": logits, "loss": out.loss,
                           **stored_gradients(model, folder)},
           f"{type(model).__name__}, {kind}")


def probe(shape):
    """Gradient of the output: the loss of an encoder is their product."""
    n = torch.Size(shape).numel()
    return ((torch.arange(n) * 7 % 11).float() * 0.25 - 1.0).reshape(shape)


def encoder(name, model, seed, given, hidden=None, prefix=""):
    folder = begin(name, model, seed)
    given = given()
    out = model(**given).last_hidden_state if hidden is None else hidden(model, given)
    weight = probe(out.shape)
    (out * weight).sum().backward()
    finish(folder, {**given, "grad.last_hidden_state": weight},
           {"last_hidden_state": out, **stored_gradients_of_used(model, folder, prefix)},
           type(model).__name__)


def stored_gradients_of_used(model, folder, prefix):
    """As above, without parameters that the output does not depend on."""
    file = safetensors.torch.load_file(folder / "model/model.safetensors")
    own = dict(model.named_parameters())
    out = {}
    for name in file:
        p = own.get(name, own.get(name.removeprefix("vision_model.")))
        if p is not None and p.grad is not None:
            out["grad." + prefix + name.removeprefix(prefix)] = p.grad
    assert out
    return out


def split_run(model, folder, recipe, image_token):
    """A run folder as training leaves one: a recipe and model/, with the names
    of transformers 4."""
    state = {k: v.detach() for k, v in model.state_dict().items()}
    parts = {"language_model": {}, "vision": {}, "vision/projector": {}}
    for name, value in state.items():
        name = name.removeprefix("model.")
        if name.startswith("vision_tower."):
            name = name.removeprefix("vision_tower.").removeprefix("vision_model.")
            parts["vision"]["vision_model." + name] = value
        elif name.startswith("multi_modal_projector."):
            parts["vision/projector"][
                name.removeprefix("multi_modal_projector.")] = value
        elif name.startswith("language_model."):
            parts["language_model"][
                "model." + name.removeprefix("language_model.")] = value
        else:
            parts["language_model"][name] = value
    config, text = model.config, model.config.text_config
    configs = {
        "language_model": {**text.to_dict(), "architectures": ["LlamaForCausalLM"]},
        "vision": config.vision_config.to_dict(),
        "vision/projector": {
            "format": "cornstarch.projector", "version": 1, "type": "mlp",
            "in_features": config.vision_config.hidden_size,
            "hidden_size": text.hidden_size, "out_features": text.hidden_size,
            "activation": config.projector_hidden_act},
    }
    for part, tensors in parts.items():
        at = folder / "run/model" / part
        at.mkdir(parents=True)
        save(at / "model.safetensors", tensors)
        (at / "config.json").write_text(json.dumps(configs[part], indent=2) + "\n")
    (folder / "run/recipe.yaml").write_text(recipe)
    (folder / "run/model/cornstarch.json").write_text(json.dumps({
        "format": "cornstarch.model", "version": 1, "attention": "causal",
        "template": "plain", "language_model": "language_model",
        "encoders": [{"folder": "vision", "placeholder": "<image>",
                      "placeholder_id": image_token}]}, indent=2) + "\n")
    return parts


def global_name(name):
    name = name.removeprefix("model.")
    for old, new in (("vision_tower.vision_model.", "vision.vision_model."),
                     ("vision_tower.", "vision.vision_model."),
                     ("multi_modal_projector.", "vision.projector."),
                     ("language_model.", "language_model.model."),
                     ("lm_head.", "language_model.lm_head.")):
        if name.startswith(old):
            return new + name.removeprefix(old)
    raise KeyError(name)


def round_trip(run, given, out):
    """What transformers says to our export of the run."""
    program = os.environ.get("CORNSTARCH")
    if program is None:
        return {"round_trip": "not run"}
    with tempfile.TemporaryDirectory() as at:
        target = pathlib.Path(at) / "llava"
        subprocess.run([program, "convert", "--to", "llava", run, target],
                       check=True, stdout=subprocess.DEVNULL)
        model, info = LlavaForConditionalGeneration.from_pretrained(
            target, output_loading_info=True, attn_implementation="eager")
        again = model.eval()(**given, use_cache=False)
        version = subprocess.run([program, "--version"], check=True, text=True,
                                 capture_output=True).stdout.strip()
    assert not any(info.values()), info
    assert torch.equal(again.logits, out.logits)
    return {"round_trip": {
        "class": type(model).__name__, "program": version.split(" (")[0],
        "missing_or_unexpected": 0,
        "largest_difference_of_logits": float(
            (again.logits - out.logits).detach().abs().max())}}


RECIPE = """\
version: 1
name: llava
model:
  attention: causal
  encoders:
    vision:
      from: model/vision
      placeholder: "<image>"
      feature_layer: -2
      feature_select: default
      projector: {from: model/vision/projector}
  language_model: {from: model/language_model}
data:
  train: [{path: none.json}]
training: {max_steps: 1, precision: f32}
"""


def llava():
    """CLIP without its class token from the last but one hidden state, two
    pictures in a row, one row without any."""
    torch.manual_seed(SEED + 20)
    image = 39
    text = LlamaConfig(**TEXT)
    vision = CLIPVisionConfig(hidden_size=16, intermediate_size=24,
                              num_hidden_layers=3, num_attention_heads=4,
                              image_size=12, patch_size=4)
    model = shake(LlavaForConditionalGeneration(LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=image,
        vision_feature_layer=-2, image_seq_length=9,
        attn_implementation="eager")))
    folder = OUT / "llava"
    shutil.rmtree(folder, ignore_errors=True)
    split_run(model, folder, RECIPE, image)
    torch.manual_seed(SEED + 21)
    ids = torch.randint(0, image, (3, 24))
    ids[0, 2:11] = image
    ids[0, 13:22] = image
    ids[1, 1:10] = image
    mask = torch.ones_like(ids)
    mask[1, 17:] = 0
    mask[2, 11:] = 0
    labels = random_labels(ids)
    labels[(mask == 0) | (ids == image)] = -100
    pixels = torch.randn(3, 3, 12, 12)
    given = {"input_ids": ids, "labels": labels, "attention_mask": mask,
             "pixel_values": pixels}
    out = model(**given, use_cache=False)
    out.loss.backward()
    gradients = {"grad." + global_name(n): p.grad
                 for n, p in model.named_parameters() if p.grad is not None}
    finish(folder, given, {"logits": out.logits * mask[..., None],
                           "loss": out.loss, **gradients},
           "LlavaForConditionalGeneration: CLIP, -2, default; Llama",
           **round_trip(folder / "run", given, out))


def main():
    language_model("llama", LlamaConfig(**TEXT), 1)
    language_model("llama_packed", LlamaConfig(**TEXT), 2, "packed")
    language_model("llama_flat", LlamaConfig(**TEXT), 3, "flat")
    language_model("gemma2_tied", Gemma2Config(
        # a padding token has no gradient in PyTorch
        **TEXT, pad_token_id=None, query_pre_attn_scalar=8, sliding_window=4,
        final_logit_softcapping=2.0, attn_logit_softcapping=3.0), 4)
    language_model("gpt2", GPT2Config(
        n_embd=16, n_layer=2, n_head=4, vocab_size=40, n_positions=32,
        attn_pdrop=0.0, embd_pdrop=0.0, resid_pdrop=0.0), 5)
    language_model("mixtral", MixtralConfig(
        **TEXT, num_local_experts=4, num_experts_per_tok=2), 6)

    small = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=2,
                 num_attention_heads=4, image_size=12, patch_size=4,
                 attn_implementation="eager")
    torch.manual_seed(SEED + 10)
    encoder("siglip", shake(SiglipVisionModel(SiglipVisionConfig(
        **small, vision_use_head=False))), 10,
        lambda: {"pixel_values": torch.randn(2, 3, 12, 12)},
        prefix="vision_model.")
    torch.manual_seed(SEED + 11)
    encoder("clip", shake(CLIPVisionModel(CLIPVisionConfig(**small))), 11,
            lambda: {"pixel_values": torch.randn(3, 3, 12, 12)},
            prefix="vision_model.")
    torch.manual_seed(SEED + 12)
    encoder("whisper", shake(WhisperEncoder(WhisperConfig(
        d_model=16, encoder_layers=2, encoder_attention_heads=4,
        encoder_ffn_dim=24, num_mel_bins=5, max_source_positions=8,
        attn_implementation="eager"))), 12,
        lambda: {"input_features": torch.randn(2, 5, 16)})
    torch.manual_seed(SEED + 13)
    encoder("pixtral", shake(PixtralVisionModel(PixtralVisionConfig(
        **{**small, "image_size": 32}))), 13,
        lambda: {"pixel_values": torch.randn(2, 3, 16, 12),
                 "image_sizes": torch.tensor([[16, 8], [8, 12]])},
        lambda model, given: model(**given).last_hidden_state[0])
    torch.manual_seed(SEED + 14)
    encoder("qwen2_vl", shake(Qwen2VisionTransformerPretrainedModel(
        Qwen2VLVisionConfig(depth=2, embed_dim=16, num_heads=2, hidden_size=8,
                            patch_size=4, mlp_ratio=2,
                            attn_implementation="eager"))), 14,
        lambda: {"pixel_values": torch.randn(28, 96),
                 "image_grid_thw": torch.tensor([[1, 4, 6], [1, 2, 2]])},
        lambda model, given: model(given["pixel_values"],
                                   given["image_grid_thw"]).last_hidden_state)
    llava()


if __name__ == "__main__":
    main()
