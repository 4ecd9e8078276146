#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/golden/zoo/encoder/<case>/: tiny random encoders of every family
as transformers saves them, and what transformers and PyTorch compute with them:
features, a scalar loss (the sum of probe x feature) and every gradient.

EVA-CLIP and InternViT have no class in transformers: the small modules below
are written from the published sizes, names and formulas of these models.

Needs: pip install torch transformers safetensors numpy (never in the tests).
Everything is computed in f32 by the classes as they come; nothing is patched.
Usage: zoo_encoder.py [REPOSITORY] [CASE ...]
"""
import copy
import hashlib
import json
import pathlib
import shutil
import sys
import tempfile

import numpy
import safetensors
import safetensors.torch
import torch
import torch.nn.functional as F
import transformers
from torch import nn
from transformers.models.llava_next import modeling_llava_next
from transformers.models.qwen2_audio.modeling_qwen2_audio import (
    Qwen2AudioEncoder)
from transformers.models.qwen2_vl.configuration_qwen2_vl import (
    Qwen2VLVisionConfig)
from transformers.models.qwen2_vl.modeling_qwen2_vl import (
    Qwen2VisionTransformerPretrainedModel)
from transformers.models.whisper.modeling_whisper import WhisperEncoder

ROOT = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
OUT = ROOT / "tests/golden/zoo/encoder"
SEED = 31000
EAGER = dict(attn_implementation="eager")
VIT = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=4,
           image_size=12, patch_size=4, layer_norm_eps=1e-3, **EAGER)
AUDIO = dict(d_model=16, encoder_layers=2, encoder_attention_heads=4,
             encoder_ffn_dim=24, num_mel_bins=5, max_source_positions=8,
             **EAGER)


# --- common -----------------------------------------------------------------

def shake(model):
    """Biases of 0 and norms of 1 hide faults: noise on everything."""
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p.add_(0.2 * torch.randn_like(p))
    return model.eval()


def patches(pixels, size):
    """Rows (channel, y, x) of each picture, in the order of a convolution."""
    return F.unfold(pixels, size, stride=size).transpose(1, 2)


def probe(shape):
    i = torch.arange(int(numpy.prod(shape)), dtype=torch.int64)
    return ((i * 7 % 11).float() * 0.25 - 1.0).reshape(shape)


def pool(rows, n):
    """Means of n neighbours, the last of fewer."""
    return torch.stack([part.mean(0) for part in rows.split(n)])


def stack(rows, n):
    """n neighbours side by side, zeros after the last."""
    short = -len(rows) % n
    rows = torch.cat([rows, rows.new_zeros(short, rows.shape[1])])
    return rows.reshape(-1, n * rows.shape[1])


def save_model(model, folder):
    """As transformers saves it; as a state dict where it is not its class."""
    if hasattr(model, "save_pretrained"):
        model.save_pretrained(folder)
        (folder / "generation_config.json").unlink(missing_ok=True)
        return
    (folder / "config.json").write_text(
        json.dumps(model.config_json, indent=2) + "\n")
    safetensors.torch.save_file(
        {k: v.contiguous() for k, v in model.state_dict().items()},
        folder / "model.safetensors", metadata={"format": "pt"})


def saved_gradients(model):
    """Gradients by the names under which the values are saved (transformers
    renames and fuses when it saves): a copy whose values are the gradients."""
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for mine, p in zip(twin.parameters(), model.parameters()):
            mine.copy_(p.grad if p.grad is not None
                       else torch.full_like(p, torch.nan))
    with tempfile.TemporaryDirectory() as folder:
        save_model(twin, pathlib.Path(folder))
        values = safetensors.torch.load_file(folder + "/model.safetensors")
    return {k: v.clone() for k, v in values.items()
            if not torch.isnan(v).any()}


class Projector(nn.Module):
    """Linear, activation, linear; in a folder of its own."""

    def __init__(self, width, hidden, out, activation):
        super().__init__()
        self.linear_1 = nn.Linear(width, hidden)
        self.linear_2 = nn.Linear(hidden, out)
        self.activation = activation

    def forward(self, x):
        act = transformers.activations.ACT2FN[self.activation]
        return self.linear_2(act(self.linear_1(x)))

    def save(self, folder):
        folder.mkdir(parents=True)
        hidden, width = self.linear_1.weight.shape
        config = {"format": "cornstarch.projector", "version": 1,
                  "type": "mlp", "in_features": width, "hidden_size": hidden,
                  "out_features": self.linear_2.weight.shape[0],
                  "activation": self.activation}
        (folder / "config.json").write_text(json.dumps(config, indent=2))
        safetensors.torch.save_file(self.state_dict(),
                                    folder / "model.safetensors")


class Case:
    """One folder. `ours` is what our names begin with where saved ones do
    not, `theirs` what saved ones begin with."""

    def __init__(self, name, ours="", theirs=""):
        self.name, self.ours, self.theirs = name, ours, theirs
        self.folder = OUT / name
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        digest = hashlib.sha256(name.encode()).digest()
        torch.manual_seed(SEED + int.from_bytes(digest[:4], "little"))

    def rename(self, name):
        assert name.startswith(self.theirs), name
        return self.ours + name[len(self.theirs):]

    def finish(self, model, items, rows, features, note, projector=None,
               merger=None, preprocessor=None, more=None):
        """`items`: (input rows, encoder rows, grid rows, grid columns,
        features) of each; `rows` what enters, `features` what leaves."""
        output = torch.cat(features)
        loss = (output * probe(output.shape)).sum()
        loss.backward()
        save_model(model, self.folder)
        grads = {}
        for name, grad in saved_gradients(model).items():
            if merger and name.startswith(merger):
                name = "projector." + name[len(merger):]
            else:
                name = self.rename(name)
            grads["grad.encoder." + name] = grad
        if projector is not None:
            projector.save(self.folder / "projector")
            for name, p in projector.named_parameters():
                grads["grad.encoder.projector." + name] = p.grad
        if preprocessor is not None:
            (self.folder / "preprocessor_config.json").write_text(
                json.dumps(preprocessor) + "\n")
        tensors = {"items": torch.tensor(items, dtype=torch.int32),
                   "input": torch.cat(rows), "output": output.detach(),
                   "loss": loss.detach().reshape(1), **grads, **(more or {})}
        safetensors.torch.save_file(
            {k: v.contiguous() for k, v in tensors.items()},
            self.folder / "golden.safetensors")
        self.provenance(note, self.loads_again(model))

    def loads_again(self, model):
        """What an export of ours holds, the same values under our names, in
        the class: which tensors it misses (heads that are not ours)."""
        if not hasattr(model, "save_pretrained") or self.theirs:
            return None
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            shutil.copy(self.folder / "config.json", folder)
            values = safetensors.torch.load_file(
                self.folder / "model.safetensors")
            heads = ("pooler.", "head.", "merger.")
            safetensors.torch.save_file(
                {self.rename(k): v for k, v in values.items()
                 if not k.startswith(heads)},
                folder / "model.safetensors", metadata={"format": "pt"})
            twin, info = type(model).from_pretrained(
                folder, output_loading_info=True)
        assert not info["unexpected_keys"], info
        missing = sorted(info["missing_keys"])
        assert all(k.startswith(heads) for k in missing), info
        mine, other = model.state_dict(), twin.state_dict()
        for name in mine:
            if name not in missing and not name.startswith(heads):
                assert torch.equal(mine[name], other[name]), name
        return {"class": type(model).__name__, "missing": missing}

    def provenance(self, note, round_trip):
        for path in self.folder.rglob("*.safetensors"):
            path.chmod(0o644)
        files = sorted(p for p in self.folder.rglob("*")
                       if p.is_file() and p.name != "provenance.json")
        text = {
            "script": "tools/golden/zoo_encoder.py",
            "what": note,
            "seed": SEED,
            "python": sys.version.split()[0],
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "safetensors": safetensors.__version__,
            # null: no class, or a whole model's file
            "our_names_load_as": round_trip,
            "sha256": {str(p.relative_to(self.folder)):
                       hashlib.sha256(p.read_bytes()).hexdigest()
                       for p in files},
        }
        (self.folder / "provenance.json").write_text(
            json.dumps(text, indent=2) + "\n")
        total = sum(p.stat().st_size for p in files)
        assert total <= 200 * 1024, (self.folder, total)


# --- pictures of one size ---------------------------------------------------

def square(case, model, note, size=12, patch=4, n=2, channels=3, class_rows=0,
           drop=False, choose=None, arguments=None, encoder=None, after=None,
           **finish):
    """n pictures through `model` (or the encoder inside it); `choose` takes
    the chosen rows from its output, `after` makes features of an item."""
    pixels = torch.randn(n, channels, size, size)
    out = (encoder or model)(pixel_values=pixels, **(arguments or {}))
    out = choose(out) if choose else out.last_hidden_state
    out = out[:, class_rows:] if drop else out
    features = [after(o) if after else o for o in out]
    if "projector" in finish:
        features = [finish["projector"](f) for f in features]
    side = size // patch
    items = [[side * side, side * side + class_rows, side, side, len(f)]
             for f in features]
    case.finish(model, items, [patches(pixels, patch).flatten(0, 1)],
                features, note, **finish)


def hidden(k):
    return lambda out: out.hidden_states[k]


HIDDEN = dict(output_hidden_states=True)
RESAMPLED = dict(interpolate_pos_encoding=True)


def clip():
    def make(**more):
        return shake(transformers.CLIPVisionModel(
            transformers.CLIPVisionConfig(**VIT, intermediate_size=24, **more)))
    case = Case("clip", "vision_model.")
    square(case, make(), "CLIPVisionModel, class rows kept", class_rows=1)
    case = Case("clip_below", "vision_model.")
    square(case, make(hidden_act="gelu"), "CLIPVisionModel with gelu, "
           "hidden_states[-2] without class rows", class_rows=1, drop=True, choose=hidden(-2),
           arguments=HIDDEN)
    case = Case("clip_resampled", "vision_model.")
    square(case, make(), "CLIPVisionModel, pictures of 20 for 12", size=20,
           class_rows=1, arguments=RESAMPLED)
    whole = transformers.CLIPConfig(
        vision_config=dict(VIT, intermediate_size=24),
        text_config=dict(hidden_size=8, intermediate_size=8,
                         num_hidden_layers=1, num_attention_heads=2,
                         vocab_size=10, max_position_embeddings=4),
        projection_dim=8)
    case = Case("clip_whole", "vision_model.", "vision_model.")
    model = shake(transformers.CLIPModel(whole))
    square(case, model, "CLIPModel's vision tower, hidden_states[0]",
           encoder=model.vision_model, class_rows=1, drop=True,
           choose=hidden(0), arguments=HIDDEN)


def vit():
    config = transformers.ViTConfig(**VIT, intermediate_size=24)

    def make(**more):
        return shake(transformers.ViTModel(
            transformers.ViTConfig(**VIT, intermediate_size=24, **more),
            add_pooling_layer=False))
    square(Case("vit"), make(), "ViTModel, class rows dropped", class_rows=1,
           drop=True)
    square(Case("vit_below"), make(qkv_bias=False), "ViTModel without qkv "
           "bias, hidden_states[1], class rows kept", class_rows=1,
           choose=hidden(1), arguments=HIDDEN)
    square(Case("vit_pooled"), shake(transformers.ViTModel(config)),
           "ViTModel with its pooler, means of 4 rows", class_rows=1,
           drop=True, after=lambda rows: pool(rows, 4))


def dinov2():
    def make(**more):
        config = transformers.Dinov2Config(**VIT, layerscale_value=0.5, **more)
        return shake(transformers.Dinov2Model(config))
    square(Case("dinov2"), make(mlp_ratio=2), "Dinov2Model", class_rows=1)
    square(Case("dinov2_gated"), make(use_swiglu_ffn=True),
           "Dinov2Model with SwiGLU, class rows dropped", class_rows=1,
           drop=True)
    square(Case("dinov2_larger"), make(mlp_ratio=2, use_mask_token=False),
           "Dinov2Model, pictures of 20 for 12, no mask token", size=20,
           class_rows=1, drop=True)
    case = Case("dinov2_smaller")
    square(case, make(mlp_ratio=1), "Dinov2Model, pictures of 8 for 12, as "
           "preprocessor_config.json says", size=8, class_rows=1,
           preprocessor={"do_center_crop": True,
                         "crop_size": {"height": 8, "width": 8},
                         "size": {"shortest_edge": 9}})


def siglip():
    def make(use_head=False, size=12):
        config = dict(VIT, image_size=size, intermediate_size=24,
                      vision_use_head=use_head)
        return shake(transformers.SiglipVisionModel(
            transformers.SiglipVisionConfig(**config)))
    square(Case("siglip_rest", "vision_model."), make(size=14),
           "SiglipVisionModel, pictures of 14 in patches of 4: the rest is "
           "not seen (siglip-so400m-patch14-384)", size=14)
    square(Case("siglip_rest_resampled", "vision_model."), make(size=14),
           "SiglipVisionModel, pictures of 18 for 14 in patches of 4",
           size=18, arguments=RESAMPLED)
    square(Case("siglip_resampled", "vision_model."), make(),
           "SiglipVisionModel, pictures of 16 for 12", size=16,
           arguments=RESAMPLED)
    square(Case("siglip_below", "vision_model."), make(True),
           "SiglipVisionModel with its head, hidden_states[-2]",
           choose=hidden(-2), arguments=HIDDEN)
    square(Case("siglip_stack", "vision_model."), make(),
           "SiglipVisionModel, 4 rows side by side",
           after=lambda rows: stack(rows, 4))
    case = Case("siglip_mlp", "vision_model.")
    projector = shake(Projector(32, 6, 4, "quick_gelu"))
    square(case, make(),
           "SiglipVisionModel, means of 2, 2 side by side, mlp with "
           "quick_gelu", after=lambda rows: stack(pool(rows, 2), 2),
           projector=projector)


# --- EVA-CLIP and InternViT: independent references -------------------------

class RMSNorm(nn.Module):
    def __init__(self, n, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(n))
        self.eps = eps

    def forward(self, x):
        return self.weight * x / (x.square().mean(-1, True) + self.eps).sqrt()


class Embeddings(nn.Module):
    """Patches with bias, a class row, learned positions."""

    def __init__(self, c, batch_axis):
        super().__init__()
        n = (c["image_size"] // c["patch_size"]) ** 2 + 1
        d = c["hidden_size"]
        self.side = c["image_size"] // c["patch_size"]
        self.patch_embedding = nn.Conv2d(3, d, c["patch_size"],
                                         c["patch_size"])
        if batch_axis:
            self.class_embedding = nn.Parameter(torch.randn(1, 1, d))
            self.position_embedding = nn.Parameter(torch.randn(1, n, d))
        else:
            self.class_embedding = nn.Parameter(torch.randn(d))
            self.position_embedding = nn.Embedding(n, d)

    def forward(self, pixels):
        x = self.patch_embedding(pixels)
        side = x.shape[-1]
        x = x.flatten(2).transpose(1, 2)
        first = self.class_embedding.reshape(1, 1, -1).expand(len(x), 1, -1)
        table = getattr(self.position_embedding, "weight",
                        self.position_embedding)
        table = table.reshape(-1, x.shape[-1])
        grid = table[1:].reshape(1, self.side, self.side, -1)
        grid = F.interpolate(grid.permute(0, 3, 1, 2), size=(side, side),
                             mode="bicubic", align_corners=False)
        grid = grid.flatten(2).transpose(1, 2)[0]
        return torch.cat([first, x], 1) + torch.cat([table[:1], grid])


def attend(q, k, v, heads):
    b, n, d = q.shape
    q, k, v = (x.reshape(b, n, heads, -1).transpose(1, 2) for x in (q, k, v))
    weights = (q @ k.transpose(2, 3) * (d // heads) ** -0.5).softmax(-1)
    return (weights @ v).transpose(1, 2).reshape(b, n, d)


class MLP(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.fc1 = nn.Linear(c["hidden_size"], c["intermediate_size"])
        self.fc2 = nn.Linear(c["intermediate_size"], c["hidden_size"])

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class InternAttention(nn.Module):
    def __init__(self, c):
        super().__init__()
        d = c["hidden_size"]
        self.heads = c["num_attention_heads"]
        self.qkv = nn.Linear(d, 3 * d, bias=c["qkv_bias"])
        if c["qk_normalization"]:
            self.q_norm = RMSNorm(d, c["layer_norm_eps"])
            self.k_norm = RMSNorm(d, c["layer_norm_eps"])
        self.proj = nn.Linear(d, d)

    def forward(self, x):
        q, k, v = self.qkv(x).chunk(3, -1)
        if hasattr(self, "q_norm"):
            q, k = self.q_norm(q), self.k_norm(k)
        return self.proj(attend(q, k, v, self.heads))


class InternLayer(nn.Module):
    def __init__(self, c):
        super().__init__()
        d, eps = c["hidden_size"], c["layer_norm_eps"]
        norm = RMSNorm if c["norm_type"] == "rms_norm" else nn.LayerNorm
        self.attn, self.mlp = InternAttention(c), MLP(c)
        self.norm1, self.norm2 = norm(d, eps=eps), norm(d, eps=eps)
        self.ls1 = nn.Parameter(torch.full((d,), c["initializer_factor"]))
        self.ls2 = nn.Parameter(torch.full((d,), c["initializer_factor"]))

    def forward(self, x):
        x = x + self.attn(self.norm1(x)) * self.ls1
        return x + self.mlp(self.norm2(x)) * self.ls2


class EvaAttention(nn.Module):
    def __init__(self, c):
        super().__init__()
        d = c["hidden_size"]
        self.heads = c["num_attention_heads"]
        self.q_proj = nn.Linear(d, d, bias=c["q_bias"])
        self.k_proj = nn.Linear(d, d, bias=c["k_bias"])
        self.v_proj = nn.Linear(d, d, bias=c["v_bias"])
        self.out_proj = nn.Linear(d, d)

    def forward(self, x):
        return self.out_proj(attend(self.q_proj(x), self.k_proj(x),
                                    self.v_proj(x), self.heads))


class EvaLayer(nn.Module):
    def __init__(self, c):
        super().__init__()
        d, eps = c["hidden_size"], c["layer_norm_eps"]
        norm = RMSNorm if c.get("use_rms_norm") else nn.LayerNorm
        self.behind = c["post_layernorm"]
        self.self_attn, self.mlp = EvaAttention(c), MLP(c)
        self.layer_norm1 = norm(d, eps=eps)
        self.layer_norm2 = norm(d, eps=eps)

    def forward(self, x):
        for norm, part in ((self.layer_norm1, self.self_attn),
                           (self.layer_norm2, self.mlp)):
            x = x + (norm(part(x)) if self.behind else part(norm(x)))
        return x


class Output:
    pass


class Tower(nn.Module):
    def __init__(self, c, layer, batch_axis, last_norm):
        super().__init__()
        self.embeddings = Embeddings(c, batch_axis)
        self.encoder = nn.Module()
        self.encoder.layers = nn.ModuleList(
            layer(c) for _ in range(c["num_hidden_layers"]))
        if last_norm is not None:
            self.post_layernorm = last_norm(c["hidden_size"],
                                            eps=c["layer_norm_eps"])

    def forward(self, pixel_values):
        out = Output()
        out.hidden_states = [self.embeddings(pixel_values)]
        for layer in self.encoder.layers:
            out.hidden_states.append(layer(out.hidden_states[-1]))
        out.last_hidden_state = out.hidden_states[-1]
        return out


class EvaModel(nn.Module):
    def __init__(self, c):
        super().__init__()
        norm = RMSNorm if c.get("use_rms_norm") else nn.LayerNorm
        self.vision_model = Tower(c, EvaLayer, False, norm)
        self.config_json = c

    def forward(self, pixel_values):
        return self.vision_model(pixel_values)


def intern_vit():
    base = dict(architectures=["InternVisionModel"],
                model_type="intern_vit_6b", hidden_size=16,
                intermediate_size=24, num_hidden_layers=2,
                num_attention_heads=4, image_size=12, patch_size=4,
                num_channels=3, hidden_act="gelu", layer_norm_eps=1e-3,
                dropout=0.0, attention_dropout=0.0, drop_path_rate=0.1,
                initializer_range=0.02, initializer_factor=0.5,
                use_flash_attn=True)

    def make(**more):
        c = dict(base, **more)
        model = shake(Tower(c, InternLayer, True, None))
        model.config_json = c
        return model
    square(Case("intern_vit_300m"),
           make(norm_type="layer_norm", qkv_bias=True, qk_normalization=False),
           "InternViT with layer norms and qkv bias", class_rows=1, drop=True)
    square(Case("intern_vit_6b"),
           make(norm_type="rms_norm", qkv_bias=False, qk_normalization=True),
           "InternViT with RMS norms, normalised q and k", class_rows=1)
    square(Case("intern_vit_resampled"),
           make(norm_type="layer_norm", qkv_bias=False, qk_normalization=True),
           "InternViT, layer norms and normalised q and k, hidden_states[-2], "
           "pictures of 20 for 12", size=20, class_rows=1, choose=hidden(-2))


def evaclip():
    base = dict(architectures=["EvaCLIPVisionModel"],
                model_type="clip_vision_model", hidden_size=16,
                intermediate_size=24, num_hidden_layers=2,
                num_attention_heads=4, image_size=12, patch_size=4,
                num_channels=3, hidden_act="gelu", layer_norm_eps=1e-3,
                attention_dropout=0.0, dropout=0.0, initializer_range=0.02,
                initializer_factor=1.0, q_bias=True, k_bias=False, v_bias=True)

    def make(**more):
        return shake(EvaModel(dict(base, **more)))
    square(Case("evaclip_8b", "vision_model.", "vision_model."),
           make(post_layernorm=False),
           "EVA-CLIP with layer norms in front", class_rows=1, drop=True)
    square(Case("evaclip_18b", "vision_model.", "vision_model."),
           make(post_layernorm=True, use_rms_norm=True),
           "EVA-CLIP with RMS norms behind", class_rows=1)
    square(Case("evaclip_below", "vision_model.", "vision_model."),
           make(post_layernorm=True, q_bias=False, v_bias=False),
           "EVA-CLIP with layer norms behind, no q and v bias, "
           "hidden_states[-2]", class_rows=1, drop=True, choose=hidden(-2))


# --- pictures in tiles ------------------------------------------------------

class LineProjector(Projector):
    """The projector of a LLaVA-NeXT and the row at its lines' ends."""

    def __init__(self, model):
        nn.Module.__init__(self)
        self.linear_1 = model.multi_modal_projector.linear_1
        self.linear_2 = model.multi_modal_projector.linear_2
        self.image_newline = model.image_newline
        self.activation = "gelu"


def llava_next():
    points = [[12, 24], [24, 12], [24, 24], [36, 12], [12, 36]]
    case = Case("llava_next", "vision_model.")
    model = shake(transformers.LlavaNextModel(transformers.LlavaNextConfig(
        vision_config=dict(VIT, intermediate_size=24,
                           model_type="clip_vision_model"),
        text_config=dict(model_type="llama", hidden_size=4,
                         intermediate_size=4, num_hidden_layers=1,
                         num_attention_heads=2, vocab_size=8),
        image_grid_pinpoints=points, vision_feature_layer=-2,
        vision_feature_select_strategy="default")))
    sizes = [(45, 61), (90, 33), (7, 20)]
    grids = [modeling_llava_next.get_anyres_image_grid_shape(s, points, 12)
             for s in sizes]
    pixels = torch.zeros(3, 1 + max(r * c for r, c in grids), 3, 12, 12)
    items, rows = [], []
    for i, (r, c) in enumerate(grids):
        n = 1 + r * c
        pixels[i, :n] = torch.randn(n, 3, 12, 12)
        left = modeling_llava_next.unpad_image(
            torch.zeros(1, 3 * r, 3 * c), sizes[i]).shape[1:]
        items.append([9 * n, 10 * n, *left, 9 + left[0] * (left[1] + 1)])
        rows.append(patches(pixels[i, :n], 4).flatten(0, 1))
    features = model.get_image_features(
        pixels, torch.tensor(sizes), return_dict=True).pooler_output
    case.finish(model.vision_tower, items, rows, list(features),
                "LlavaNextModel.get_image_features: tiles, lines without "
                "borders, their ends", projector=LineProjector(model),
                preprocessor={
                    "image_processor_type": "LlavaNextImageProcessor",
                    "size": {"shortest_edge": 12}, "do_center_crop": True,
                    "crop_size": {"height": 12, "width": 12},
                    "image_grid_pinpoints": points},
                more={"tiles": torch.tensor(grids, dtype=torch.int32)})


# --- pictures of any size ---------------------------------------------------

def pixtral():
    config = transformers.PixtralVisionConfig(
        hidden_size=16, intermediate_size=24, num_hidden_layers=2,
        num_attention_heads=2, image_size=32, patch_size=4, hidden_act="silu",
        **EAGER)

    def make(case, note, choose=None, sizes=((12, 20), (8, 4)), light=1.0):
        model = shake(transformers.PixtralVisionModel(config))
        pictures = [light * torch.randn(1, 3, *size) for size in sizes]
        pixels = torch.zeros(len(sizes), 3, 32, 32)
        for i, (h, w) in enumerate(sizes):
            pixels[i, :, :h, :w] = pictures[i][0]
        out = model(pixel_values=pixels, image_sizes=torch.tensor(sizes),
                    output_hidden_states=True)
        out = choose(out) if choose else out.last_hidden_state
        counts = [h * w // 16 for h, w in sizes]
        items = [[n, n, h // 4, w // 4, n]
                 for n, (h, w) in zip(counts, sizes)]
        case.finish(model, items, [patches(p, 4)[0] for p in pictures],
                    list(out[0].split(counts)), note)
    make(Case("pixtral"), "PixtralVisionModel, two pictures of their own size")
    # what is added to a variance shows in dark pictures
    make(Case("pixtral_below"), "PixtralVisionModel, hidden_states[-2], dark",
         hidden(-2), ((4, 24), (20, 12)), 0.003)


def merge_order(picture, patch, merge, times):
    """Qwen2-VL's rows: blocks of merge x merge in reading order; a row is
    (channel, time, y, x)."""
    c, h, w = picture.shape
    gh, gw = h // patch, w // patch
    x = picture.reshape(c, gh // merge, merge, patch, gw // merge, merge,
                        patch)
    x = x.permute(1, 4, 2, 5, 0, 3, 6)  # bh bw mh mw c y x
    x = x.unsqueeze(5).expand(*x.shape[:5], times, patch, patch)
    return x.reshape(gh * gw, -1), gh, gw


def qwen2_vl():
    vision = dict(depth=2, embed_dim=16, num_heads=2, hidden_size=4,
                  mlp_ratio=2, patch_size=4, spatial_merge_size=2,
                  temporal_patch_size=2, in_channels=3, **EAGER)

    def run(case, model, encoder, sizes, note, merged, light=1.0, **finish):
        rows, items = [], []
        for h, w in sizes:
            r, gh, gw = merge_order(light * torch.randn(3, h, w), 4, 2, 2)
            rows.append(r)
            items.append([len(r), len(r), gh, gw,
                          len(r) // 4 if merged else len(r)])
        grid = torch.tensor([[1, i[2], i[3]] for i in items])
        out = encoder(torch.cat(rows), grid_thw=grid)
        out = out.pooler_output if merged else out.last_hidden_state
        case.finish(model, items, rows, [out], note, **finish)

    def make():
        return shake(Qwen2VisionTransformerPretrainedModel(
            Qwen2VLVisionConfig(**vision)))
    case, model = Case("qwen2_vl"), make()
    run(case, model, model, ((8, 24), (16, 8)),
        "Qwen2VisionTransformerPretrainedModel's last_hidden_state, dark",
        False, 0.003)
    case, model = Case("qwen2_vl_merger"), make()
    run(case, model, model, ((16, 16), (8, 16)),
        "Qwen2VisionTransformerPretrainedModel through its merger", True,
        merger="merger.")
    case = Case("qwen2_vl_whole", "", "visual.")
    whole = transformers.Qwen2VLConfig(
        text_config=dict(hidden_size=4, intermediate_size=4,
                         num_hidden_layers=1, num_attention_heads=1,
                         num_key_value_heads=1, vocab_size=8,
                         max_position_embeddings=8,
                         rope_parameters={"rope_type": "default",
                                          "rope_theta": 1e4,
                                          "mrope_section": [1, 0, 1]}),
        vision_config=vision)
    model = shake(transformers.Qwen2VLForConditionalGeneration(whole))
    run(case, model, model.model.visual,
        ((8, 8), (24, 8)),
        "Qwen2VLForConditionalGeneration's tower through its merger", True,
        merger="visual.merger.")


# --- sound ------------------------------------------------------------------

def sound_rows(model, mel, pooled):
    """The class's forward on n <= 2 max_source_positions frames: the class
    insists on the full length, its parts do not."""
    x = F.gelu(model.conv1(mel))
    x = F.gelu(model.conv2(x)).permute(0, 2, 1)
    x = x + model.embed_positions.weight[:x.shape[1]]
    for layer in model.layers:
        x = layer(x, attention_mask=None)
        x = x[0] if isinstance(x, tuple) else x
    if pooled:
        x = F.avg_pool1d(x.transpose(1, 2), 2, 2).transpose(1, 2)
    return model.layer_norm(x)[0]


def sound(name, make, pooled, preprocessor):
    case = Case(name + "_padded")
    model = make()
    mels = [torch.randn(1, 5, 16) for _ in range(2)]
    features = [model(mel).last_hidden_state[0] for mel in mels]
    assert torch.equal(features[0], sound_rows(model, mels[0], pooled))
    items = [[16, 8, 0, 0, len(f)] for f in features]
    case.finish(
        model, items, [m[0].T for m in mels], features,
        "recordings of the full length")
    case = Case(name)
    model = make()
    mels = [torch.randn(1, 5, n) for n in (8, 16, 9)]
    features = [sound_rows(model, m, pooled) for m in mels]
    items = [[m.shape[2], (m.shape[2] + 1) // 2, 0, 0, len(f)]
             for m, f in zip(mels, features)]
    case.finish(model, items, [m[0].T for m in mels], features,
                "recordings of 8, 16 (full) and 9 frames",
                preprocessor=preprocessor)


def masked_sound():
    """As Qwen2AudioModel: recordings of n frames in padded ones, whose rows of
    silence are attended by nobody. They take what their last row's
    convolutions see of the silence."""
    case = Case("qwen2_audio_masked")
    model = shake(Qwen2AudioEncoder(
        transformers.Qwen2AudioEncoderConfig(**AUDIO)))
    lengths = torch.tensor([9, 12])
    rows, kept = model._get_feat_extract_output_lengths(lengths)
    mels = torch.randn(2, 5, 16)
    mask = torch.zeros(2, 1, 8, 8)
    for i, n in enumerate(rows):
        mask[i, :, :, n:] = -torch.inf
    out = model(mels, attention_mask=mask).last_hidden_state
    frames = 2 * rows + 1
    items = torch.stack([frames, rows, 0 * rows, 0 * rows, kept], 1)
    case.finish(
        model, items.tolist(),
        [m[:, :n].T for m, n in zip(mels, frames)],
        [o[:n] for o, n in zip(out, kept)],
        "recordings of 9 and 12 frames, padded and masked")


def audio():
    sound("whisper", lambda: shake(WhisperEncoder(
        transformers.WhisperConfig(**AUDIO))), False, {"padding": False})
    sound("qwen2_audio", lambda: shake(Qwen2AudioEncoder(
        transformers.Qwen2AudioEncoderConfig(**AUDIO))), True,
        {"padding": False})
    masked_sound()
    case = Case("qwen2_audio_below")
    model = shake(Qwen2AudioEncoder(
        transformers.Qwen2AudioEncoderConfig(**AUDIO)))
    mels = [torch.randn(1, 5, 16) for _ in range(2)]
    outs = [model(mel, output_hidden_states=True) for mel in mels]
    case.finish(
        model, [[16, 8, 0, 0, 3]] * 2, [m[0].T for m in mels],
        [pool(o.hidden_states[-2][0], 3) for o in outs],
        "Qwen2AudioEncoder's hidden_states[-2], means of 3")


def main():
    torch.set_num_threads(1)
    wanted = sys.argv[2:]
    for make in (clip, vit, dinov2, siglip, intern_vit, evaclip, llava_next,
                 pixtral, qwen2_vl, audio):
        if not wanted or make.__name__ in wanted:
            make()


if __name__ == "__main__":
    main()
