# SPDX-License-Identifier: Apache-2.0
"""InternLM2 in plain PyTorch, after its technical report (Cai et al. 2024):
Llama's block; queries, key and value of each key/value head are neighbours in
the rows of wqkv. transformers has no such class."""
import types

import torch
import torch.nn.functional as F
from torch import nn


def rms_norm(x, weight, eps):
    return weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)


def rotate(x, theta):
    """x [heads, T, dim]: pairs (i, i + dim / 2)."""
    dim, half = x.shape[-1], x.shape[-1] // 2
    frequency = theta ** (-torch.arange(half).float() * 2 / dim)
    angle = torch.arange(x.shape[1]).float()[:, None] * frequency
    a, b = x[..., :half], x[..., half:]
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        d, f = c.hidden_size, c.intermediate_size
        rows = (c.num_attention_heads + 2 * c.num_key_value_heads) * c.head_dim
        self.c = c
        self.attention = nn.ModuleDict({
            "wqkv": nn.Linear(d, rows, bias=c.bias),
            "wo": nn.Linear(d, d, bias=c.bias)})
        self.feed_forward = nn.ModuleDict({
            "w1": nn.Linear(d, f, bias=False),
            "w3": nn.Linear(d, f, bias=False),
            "w2": nn.Linear(f, d, bias=False)})
        self.attention_norm = nn.ParameterDict({"weight": torch.ones(d)})
        self.ffn_norm = nn.ParameterDict({"weight": torch.ones(d)})

    def forward(self, x):
        c = self.c
        t = x.shape[0]
        group = c.num_attention_heads // c.num_key_value_heads
        y = rms_norm(x, self.attention_norm["weight"], c.rms_norm_eps)
        qkv = self.attention["wqkv"](y).view(t, c.num_key_value_heads,
                                             group + 2, c.head_dim)
        q = qkv[:, :, :group].reshape(t, -1, c.head_dim).transpose(0, 1)
        k = qkv[:, :, group].transpose(0, 1).repeat_interleave(group, 0)
        v = qkv[:, :, group + 1].transpose(0, 1).repeat_interleave(group, 0)
        q, k = rotate(q, c.rope_theta), rotate(k, c.rope_theta)
        score = q @ k.transpose(1, 2) / c.head_dim ** 0.5
        hidden = torch.ones(t, t, dtype=torch.bool).triu(1)
        p = score.masked_fill(hidden, float("-inf")).softmax(-1)
        x = x + self.attention["wo"]((p @ v).transpose(0, 1).reshape(t, -1))
        z = rms_norm(x, self.ffn_norm["weight"], c.rms_norm_eps)
        ff = self.feed_forward
        return x + ff["w2"](F.silu(ff["w1"](z)) * ff["w3"](z))


class InternLM2ForCausalLM(nn.Module):
    def __init__(self, keys):
        super().__init__()
        c = types.SimpleNamespace(
            **{"rope_theta": 10000.0, "rms_norm_eps": 1e-6, **keys})
        c.head_dim = c.hidden_size // c.num_attention_heads
        self.config = c
        self.model = nn.ModuleDict({
            "tok_embeddings": nn.Embedding(c.vocab_size, c.hidden_size),
            "layers": nn.ModuleList(Layer(c)
                                    for _ in range(c.num_hidden_layers)),
            "norm": nn.ParameterDict({"weight": torch.ones(c.hidden_size)})})
        self.output = nn.Linear(c.hidden_size, c.vocab_size, bias=False)

    def forward(self, input_ids, use_cache=False):
        x = self.model["tok_embeddings"](input_ids[0])
        for layer in self.model["layers"]:
            x = layer(x)
        x = rms_norm(x, self.model["norm"]["weight"], self.config.rms_norm_eps)
        return types.SimpleNamespace(logits=self.output(x)[None])

    def stored(self):
        return {k: v.detach().clone() for k, v in self.state_dict().items()}

    def config_json(self):
        keys = {k: v for k, v in vars(self.config).items() if k != "head_dim"}
        return {"model_type": "internlm2", "hidden_act": "silu",
                "tie_word_embeddings": False, "torch_dtype": "float32",
                "attn_implementation": "eager", "use_cache": True, **keys}


Model = InternLM2ForCausalLM
