#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares presets with transformers: preset_counts.py CORNSTARCH.

Builds the class of each preset from its config.json keys on the meta device
and counts its parameters (tied ones once), without the parts that cornstarch
does not build. InternLM2, InternViT and EVA-CLIP have no class there.
"""
import json
import subprocess
import sys

import torch
import transformers
from transformers.models.qwen2_audio import modeling_qwen2_audio
from transformers.models.qwen2_vl import (configuration_qwen2_vl,
                                          modeling_qwen2_vl)
from transformers.models.whisper import modeling_whisper

CLASSES = {
    'clip': ('CLIPVisionModel', 'CLIPVisionConfig', ()),
    'siglip': ('SiglipVisionModel', 'SiglipVisionConfig', ('head.',)),
    'vit': ('ViTModel', 'ViTConfig', ('pooler.',)),
    'dinov2': ('Dinov2Model', 'Dinov2Config', ()),
    'pixtral': ('PixtralVisionModel', 'PixtralVisionConfig', ()),
}


def build(preset):
    """The model, and beginnings of names (behind any dot) that are not ours."""
    family, config = preset['family'], dict(preset['config'])
    if family in ('internlm2', 'intern_vit', 'evaclip'):
        return None, ()
    model_type = config.pop('model_type')
    if family in CLASSES:
        model, keys, without = CLASSES[family]
        keys = getattr(transformers, keys)(**config)
        return getattr(transformers, model)(keys), without
    if family == 'qwen2_vl':
        keys = configuration_qwen2_vl.Qwen2VLVisionConfig(**config)
        return (modeling_qwen2_vl.Qwen2VisionTransformerPretrainedModel(keys),
                ('merger.',))
    if family == 'whisper':
        keys = transformers.WhisperConfig(**config)
        return modeling_whisper.WhisperEncoder(keys), ()
    if family == 'qwen2_audio':
        keys = modeling_qwen2_audio.Qwen2AudioEncoderConfig(**config)
        return modeling_qwen2_audio.Qwen2AudioEncoder(keys), ()
    keys = transformers.AutoConfig.for_model(model_type, **config)
    return transformers.AutoModelForCausalLM.from_config(keys), ()


def count(model, without):
    seen = {}
    for name, parameter in model.named_parameters():
        if not any(name.startswith(w) or '.' + w in name for w in without):
            seen[id(parameter)] = parameter.numel()
    return sum(seen.values())


def main():
    done = subprocess.run([sys.argv[1], 'models', '--format', 'json'],
                          check=True, capture_output=True)
    torch.set_default_device('meta')
    transformers.logging.set_verbosity_error()
    n_equal = n_other = n_absent = 0
    for preset in json.loads(done.stdout)['presets']:
        model, without = build(preset)
        if model is None:
            n_absent += 1
            continue
        got = count(model, without)
        if got == preset['parameters']:
            n_equal += 1
        else:
            n_other += 1
            print(f"{preset['preset']}: {preset['parameters']}, "
                  f"transformers has {got}")
    print(f'transformers {transformers.__version__}: {n_equal} equal, '
          f'{n_other} other, {n_absent} without a class')
    return n_other > 0


if __name__ == '__main__':
    sys.exit(main())
