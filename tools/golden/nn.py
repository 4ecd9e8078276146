#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/golden/nn/: tiny random models as transformers saves them, and
what transformers and PyTorch compute with them: outputs, loss, gradients.

Needs: pip install torch transformers safetensors numpy (never in the tests).
Everything is computed in f32 by the classes as they come; nothing is patched.
Usage: nn.py [REPOSITORY]
"""
import hashlib
import json
import pathlib
import shutil
import sys

import numpy
import safetensors
import safetensors.torch
import torch
import torch.nn.functional as F
import transformers
from transformers import (LlamaConfig, LlamaForCausalLM, SiglipVisionConfig,
                          SiglipVisionModel, WhisperConfig)
from transformers.models.whisper.modeling_whisper import WhisperEncoder

ROOT = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
OUT = ROOT / "tests/golden/nn"
SEED = 20240

LLAMA = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=2,
             num_attention_heads=4, num_key_value_heads=2, head_dim=8,
             vocab_size=40, max_position_embeddings=64, rms_norm_eps=1e-5,
             rope_theta=500.0, attn_implementation="eager")
SIGLIP = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=2,
              num_attention_heads=4, image_size=12, patch_size=4,
              vision_use_head=False, attn_implementation="eager")
WHISPER = dict(d_model=16, encoder_layers=2, encoder_attention_heads=4,
               encoder_ffn_dim=24, num_mel_bins=5, max_source_positions=8,
               attn_implementation="eager")


def shake(model):
    """Biases of 0 and norms of 1 hide faults: noise on everything that
    trains. Larger than initial values, so that nonlinear parts matter."""
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p.add_(0.2 * torch.randn_like(p))
    return model.eval()


def patches(pixels, size):
    """Rows (channel, y, x), in the order of a convolution's weight."""
    return F.unfold(pixels, size, stride=size).transpose(1, 2)


def probe(shape):
    """The loss of an encoder is the sum of probe x output."""
    i = torch.arange(int(numpy.prod(shape)), dtype=torch.int64)
    return ((i * 7 % 11).float() * 0.25 - 1.0).reshape(shape)


def gradients(models):
    """Keys as the global names of parameters: <module>.<name>; SigLIP's names
    with the prefix of the hub's checkpoints."""
    out = {}
    for module, model in models.items():
        for name, p in model.named_parameters():
            if p.requires_grad:
                out[f"grad.{module}.{name}"] = p.grad.detach().clone()
    return out


def save_model(model, folder):
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)


def finish(folder, tensors, note):
    safetensors.torch.save_file(
        {k: v.contiguous() for k, v in tensors.items()},
        folder / "golden.safetensors")
    for path in folder.rglob("*.safetensors"):
        path.chmod(0o644)
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    provenance = {
        "script": "tools/golden/nn.py",
        "what": note,
        "seed": SEED,
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "safetensors": safetensors.__version__,
        "sha256": {str(p.relative_to(folder)):
                   hashlib.sha256(p.read_bytes()).hexdigest() for p in files},
    }
    (folder / "PROVENANCE.json").write_text(
        json.dumps(provenance, indent=2) + "\n")
    total = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    assert total <= 200 * 1024, (folder, total)


def begin(name, seed):
    torch.manual_seed(SEED + seed)
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def random_text(lengths, vocab):
    """ids and shifted labels of documents; a third of the labels is missing."""
    ids, labels = [], []
    for n in lengths:
        document = torch.randint(0, vocab, (n,))
        shifted = torch.full((n,), -100)
        shifted[:-1] = document[1:]
        shifted[torch.rand(n) < 0.33] = -100
        ids.append(document)
        labels.append(shifted)
    return ids, labels


def nll_sum(logits, labels):
    return F.cross_entropy(logits, labels, ignore_index=-100, reduction="sum")


def llama():
    folder = begin("llama", 1)
    model = shake(LlamaForCausalLM(LlamaConfig(**LLAMA)))
    ids, labels = random_text([9, 5, 12], LLAMA["vocab_size"])
    n = sum(int((l != -100).sum()) for l in labels)
    logits = [model(input_ids=i[None], use_cache=False).logits[0] for i in ids]
    loss = sum(nll_sum(x, l) for x, l in zip(logits, labels)) / n
    loss.backward()
    save_model(model, folder)
    finish(folder, {
        "lengths": torch.tensor([len(i) for i in ids], dtype=torch.int32),
        "ids": torch.cat(ids).int(),
        "labels": torch.cat(labels).int(),
        "logits": torch.cat(logits).detach(),
        "loss": loss.detach().reshape(1),
        **gradients({"language_model": model}),
    }, "LlamaForCausalLM on three documents, each in a call of its own")


def siglip():
    folder = begin("siglip", 2)
    model = shake(SiglipVisionModel(SiglipVisionConfig(**SIGLIP)))
    pixels = torch.randn(2, 3, 12, 12)
    output = model(pixel_values=pixels).last_hidden_state
    output = output.reshape(-1, output.shape[-1])
    (output * probe(output.shape)).sum().backward()
    save_model(model, folder)
    finish(folder, {
        "lengths": torch.tensor([9, 9], dtype=torch.int32),
        "input": patches(pixels, 4).reshape(18, -1),
        "output": output.detach(),
        **gradients({"encoder.vision_model": model}),
    }, "SiglipVisionModel on two pictures")


def whisper_rows(model, mel):
    """WhisperEncoder.forward on n <= 2 max_source_positions frames: the class
    insists on the full length, its parts do not."""
    x = F.gelu(model.conv1(mel))
    x = F.gelu(model.conv2(x)).permute(0, 2, 1)
    x = x + model.embed_positions.weight[:x.shape[1]]
    for layer in model.layers:
        x = layer(x, attention_mask=None)
        x = x[0] if isinstance(x, tuple) else x
    return model.layer_norm(x)[0]


def whisper():
    folder = begin("whisper", 3)
    model = shake(WhisperEncoder(WhisperConfig(**WHISPER)))
    mels = [torch.randn(1, 5, n) for n in (16, 7, 12)]
    with torch.no_grad():
        full = model(mels[0]).last_hidden_state[0]
        assert torch.equal(full, whisper_rows(model, mels[0]))
    output = torch.cat([whisper_rows(model, m) for m in mels])
    (output * probe(output.shape)).sum().backward()
    save_model(model, folder)
    finish(folder, {
        "lengths": torch.tensor([m.shape[2] for m in mels], dtype=torch.int32),
        "input": torch.cat([m[0].T for m in mels]),
        "output": output.detach(),
        **gradients({"encoder": model}),
    }, "WhisperEncoder on recordings of 16 (full), 7 and 12 mel frames")


class Projector(torch.nn.Module):
    """LLaVA's: two linears with gelu between."""

    def __init__(self, width, out):
        super().__init__()
        self.linear_1 = torch.nn.Linear(width, out)
        self.linear_2 = torch.nn.Linear(out, out)

    def forward(self, x):
        return self.linear_2(F.gelu(self.linear_1(x)))

    def save(self, folder):
        folder.mkdir(parents=True)
        n_out, n_in = self.linear_1.weight.shape
        config = {"format": "cornstarch.projector", "version": 1,
                  "type": "mlp", "in_features": n_in, "hidden_size": n_out,
                  "out_features": n_out, "activation": "gelu"}
        (folder / "config.json").write_text(json.dumps(config, indent=2))
        safetensors.torch.save_file(self.state_dict(),
                                    folder / "model.safetensors")


def llava():
    """Documents as runs: text of n tokens, or a picture of 9 rows."""
    folder = begin("llava", 4)
    vision = shake(SiglipVisionModel(SiglipVisionConfig(**SIGLIP)))
    projector = shake(Projector(16, 16))
    model = shake(LlamaForCausalLM(LlamaConfig(**LLAMA)))
    documents = [[3, "picture", 5, "picture", 4], [6], ["picture", 7]]
    pixels = torch.randn(3, 3, 12, 12)
    features = projector(vision(pixel_values=pixels).last_hidden_state)
    ids, labels, logits, loss, picture = [], [], [], 0.0, 0
    for runs in documents:
        token, embedded = [], []
        for run in runs:
            if run == "picture":
                token.append(torch.full((9,), -1))
                embedded.append(features[picture])
                picture += 1
            else:
                token.append(torch.randint(0, 40, (run,)))
                embedded.append(model.model.embed_tokens(token[-1]))
        token = torch.cat(token)
        label = torch.full_like(token, -100)
        label[:-1] = torch.where(token[1:] >= 0, token[1:], -100)
        out = model(inputs_embeds=torch.cat(embedded)[None],
                    use_cache=False).logits[0]
        loss = loss + nll_sum(out, label)
        ids.append(token)
        labels.append(label)
        logits.append(out)
    loss = loss / sum(int((l != -100).sum()) for l in labels)
    loss.backward()
    save_model(vision, folder / "vision")
    projector.save(folder / "vision/projector")
    save_model(model, folder / "language_model")
    # -1 ends a document, 0 is a picture
    runs = [0 if r == "picture" else r for d in documents for r in d + [-1]]
    finish(folder, {
        "runs": torch.tensor(runs, dtype=torch.int32),
        "input": patches(pixels, 4).reshape(27, -1),
        "ids": torch.cat(ids).int(),
        "labels": torch.cat(labels).int(),
        "logits": torch.cat(logits).detach(),
        "loss": loss.detach().reshape(1),
        **gradients({"vision.vision_model": vision, "vision.projector": projector,
                     "language_model": model}),
    }, "SigLIP, a gelu MLP and Llama, pictures merged at placeholders, causal")


def pseudo_gradient(shape, param, step):
    """Exact in f32 and f64, and the same formula in the test."""
    i = torch.arange(int(numpy.prod(shape)), dtype=torch.int64)
    g = ((i * 7 + step * 3 + param) % 11 - 5).double() / 16
    return (g * 2.0 ** -(param % 5)).reshape(shape)


def adamw():
    """torch.optim.AdamW in f64 on the weights of tests/golden/nn/llama: decay
    on matrices only, gradients clipped to a norm of 1."""
    folder = begin("adamw", 5)
    model = LlamaForCausalLM.from_pretrained(OUT / "llama").double()
    named = sorted(model.named_parameters())
    decay = [p for _, p in named if p.dim() > 1]
    rest = [p for _, p in named if p.dim() == 1]
    optimizer = torch.optim.AdamW(
        [{"params": decay, "weight_decay": 0.1},
         {"params": rest, "weight_decay": 0.0}],
        lr=0.01, betas=(0.9, 0.98), eps=1e-6)
    norms = []
    for step in range(1, 7):
        for k, (_, p) in enumerate(named):
            # small ones too, so that not every step is clipped
            p.grad = pseudo_gradient(p.shape, k, step) * (0.001 if step == 4
                                                          else 1.0)
        norms.append(torch.nn.utils.clip_grad_norm_(
            [p for _, p in named], 1.0))
        optimizer.step()
    finish(folder, {
        "norms": torch.stack(norms),
        **{f"after.{n}": p.detach() for n, p in named},
    }, "torch.optim.AdamW, six steps; step 4 has gradients times 0.001")


def main():
    torch.set_num_threads(1)
    for make in (llama, siglip, whisper, llava, adamw):
        make()


if __name__ == "__main__":
    main()
