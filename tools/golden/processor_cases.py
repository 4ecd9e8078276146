#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Cases for tests/golden/processor/: a preprocessor_config.json, what the model
is, a file, and what Hugging Face's class makes of it. processor.py runs this.

Pictures are stored as bytes before rescaling and normalising: the float result
is turned back and must be exactly what those bytes give. The classes are those
of the Pillow backend ("slow" before transformers 5), whose resize is Pillow's.
"""
import json
import pathlib
import tempfile
import types

import numpy
import soundfile
import torch
import transformers
from PIL import Image
from transformers.models.llava_next import modeling_llava_next
from transformers.models.llava_next import processing_llava_next
from transformers.models.qwen2_audio import processing_qwen2_audio

ODD = "case_61x45.png"
PICTURES = {ODD: (61, 45), "case_1x37.png": (1, 37),
            "case_200x7.png": (200, 7), "case_33x90.png": (33, 90)}


def find_class(name):
    return getattr(transformers, name + "Pil", None) or \
        getattr(transformers, name)


def vision_cases():
    """name, class, settings, pictures, module, spelling of the file or None"""
    clip = dict(size={"shortest_edge": 28}, crop_size={"height": 28,
                                                       "width": 28})
    kinds = [*PICTURES, "rgba.png", "gray.png", "palette.png",
             "palette_transparent.png", "gray16.png", "bits.png"]
    fixed = dict(family="clip", image_size=28, patch_size=7)
    exact = dict(family="siglip", image_size=24, patch_size=8)
    pixtral = dict(family="pixtral", image_size=48, patch_size=4,
                   is_any_size=True)
    qwen = dict(family="qwen2_vl", patch_size=4, merge=2, temporal_patch=2,
                is_any_size=True)
    yield "clip", "CLIPImageProcessor", clip, kinds, fixed, None
    for number, name in enumerate(("nearest", "lanczos", "bilinear")):
        yield f"clip_{name}", "CLIPImageProcessor", dict(
            clip, resample=number), list(PICTURES), fixed, None
    yield "clip_padded", "CLIPImageProcessor", dict(
        clip, size={"shortest_edge": 19}), list(PICTURES), fixed, None
    yield "clip_square", "CLIPImageProcessor", dict(
        clip, size={"height": 33, "width": 33}), [ODD], fixed, None
    yield "clip_old", "CLIPImageProcessor", clip, [ODD], fixed, {
        "feature_extractor_type": "CLIPFeatureExtractor", "size": 28,
        "crop_size": 28, "do_center_crop": True, "do_normalize": True,
        "do_resize": True, "resample": 3,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711]}
    yield "dinov2", "BitImageProcessor", dict(
        clip, size={"shortest_edge": 33}), list(PICTURES), dict(
            fixed, family="dinov2"), None
    yield "vit", "ViTImageProcessor", dict(
        size={"height": 24, "width": 24}), list(PICTURES), dict(
            exact, family="vit"), None
    yield "vit_plain", "ViTImageProcessor", dict(
        size={"height": 24, "width": 24}, do_normalize=False,
        rescale_factor=1 / 127.5), [ODD], dict(exact, family="vit"), None
    yield "siglip", "SiglipImageProcessor", dict(
        size={"height": 24, "width": 24}), kinds, exact, None
    yield "siglip_fast", "SiglipImageProcessor", dict(
        size={"height": 24, "width": 24}), [ODD], exact, {
            "image_processor_type": "SiglipImageProcessorFast",
            "size": {"height": 24, "width": 24}, "crop_size": None,
            "data_format": "channels_first", "device": None,
            "do_center_crop": None, "do_convert_rgb": None,
            "do_normalize": True, "do_rescale": True, "do_resize": True,
            "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5],
            "input_data_format": None, "resample": 3,
            "rescale_factor": 0.00392156862745098, "return_tensors": None}
    yield "pixtral", "PixtralImageProcessor", dict(
        size={"longest_edge": 48}, patch_size={"height": 4, "width": 4}), [
            ODD, "case_33x90.png", "case_1x37.png", "rgb.png"], pixtral, None
    yield "qwen2_vl", "Qwen2VLImageProcessor", dict(
        size={"shortest_edge": 256, "longest_edge": 1600}, patch_size=4), [
            ODD, "case_33x90.png", "case_1x37.png", "case_200x7.png",
            "rgb.png"], qwen, None
    yield "llava_next", "LlavaNextImageProcessor", dict(
        size={"shortest_edge": 12}, crop_size={"height": 12, "width": 12},
        image_grid_pinpoints=[[12, 24], [24, 12], [24, 24], [36, 12],
                              [12, 36]]), kinds[:4] + ["rgb.png"], dict(
            family="clip", image_size=12, patch_size=4, is_tiled=True,
            class_rows=1, feature_skip=1), None
    yield "qwen2_vl_4", "Qwen2VLImageProcessor", dict(
        size={"shortest_edge": 64, "longest_edge": 4096}, patch_size=4), [
            ODD, "case_33x90.png", "case_200x7.png"], qwen, {
                "image_processor_type": "Qwen2VLImageProcessor",
                "min_pixels": 64, "max_pixels": 4096, "patch_size": 4,
                "merge_size": 2, "temporal_patch_size": 2,
                "processor_class": "Qwen2VLProcessor",
                "image_mean": [0.48145466, 0.4578275, 0.40821073],
                "image_std": [0.26862954, 0.26130258, 0.27577711]}


def to_bytes(values, make):
    """The bytes [..., 3] that the class saw before its arithmetic."""
    mean = numpy.array(make.image_mean if make.do_normalize else [0] * 3)
    std = numpy.array(make.image_std if make.do_normalize else [1] * 3)
    exact = (values.astype(numpy.float64) * std + mean) / make.rescale_factor
    found = numpy.rint(exact)
    assert numpy.abs(exact - found).max() < 1e-2
    assert found.min() >= 0 and found.max() <= 255
    return found.astype(numpy.uint8)


def unpatch(rows, grid, side, merge):
    """Qwen2-VL's rows -> picture, both frames being equal."""
    high, wide = grid
    rows = rows.reshape(high // merge, wide // merge, merge, merge, 3, 2, side,
                        side)
    assert (rows[:, :, :, :, :, 0] == rows[:, :, :, :, :, 1]).all()
    rows = rows[:, :, :, :, :, 0].transpose(4, 0, 2, 5, 1, 3, 6)
    return rows.reshape(3, high * side, wide * side)


def count_tiles(make, image, module):
    """Tiles and features of a LLaVA-NeXT picture, by its own functions."""
    kind = processing_llava_next.LlavaNextProcessor
    fake = types.SimpleNamespace(
        image_processor=make, patch_size=module["patch_size"],
        num_additional_image_tokens=1)
    fake._get_unpadded_features = types.MethodType(
        kind._get_unpadded_features, fake)
    side = module["image_size"]
    rows, columns = modeling_llava_next.get_anyres_image_grid_shape(
        (image.height, image.width), make.image_grid_pinpoints, side)
    features = kind._get_number_of_features(fake, image.height, image.width,
                                            side, side) - 1
    return dict(tiles=[rows, columns], features=features)


def check_printed(out, name, loader, data, wanted):
    """The preprocessor_config.json that our program prints for this case
    (printed.json, which a C test compares) loads and does the same."""
    text = json.loads((out / "printed.json").read_text())[name]
    with tempfile.TemporaryDirectory() as folder:
        (pathlib.Path(folder) / "preprocessor_config.json").write_text(text)
        loaded = loader.from_pretrained(folder)
    is_sound = isinstance(data, numpy.ndarray)
    got = loaded(data, return_tensors="np",
                 **(dict(sampling_rate=16000) if is_sound else {}))
    numpy.testing.assert_allclose(
        got["input_features" if is_sound else "pixel_values"], wanted,
        atol=1e-6)


def run_vision(out):
    for name, kind, settings, files, module, spelling in vision_cases():
        make = find_class(kind)(**settings)
        config = spelling or json.loads(make.to_json_string())
        for file in files:
            with Image.open(out / file) as opened:
                image = opened.copy()
                image.info = dict(opened.info)
            if file == "gray16.png":  # Pillow clips 16 bits; we take the upper
                image = Image.fromarray(
                    (numpy.asarray(image) >> 8).astype(numpy.uint8))
            made = make(image, return_tensors="np")
            values = made["pixel_values"]
            if kind == "Qwen2VLImageProcessor":
                grid = [int(n) for n in made["image_grid_thw"][0][1:]]
                values = unpatch(values, grid, 4, 2)
            else:
                values = values[0]
                grid = [n // module["patch_size"] for n in values.shape[-2:]]
            pixels = to_bytes(numpy.moveaxis(values, -3, -1), make)
            wanted = f"case_{name}_{file.split('.')[0]}.rgb".replace(
                "_case_", "_")
            (out / wanted).write_bytes(pixels.tobytes())
            check_printed(out, name, transformers.AutoImageProcessor, image,
                          made["pixel_values"])
            more = count_tiles(make, image, module) if "is_tiled" in module \
                else {}
            yield dict(name=name, config=config, module=module, file=file,
                       wanted=wanted, grid=grid,
                       size=[pixels.shape[-2], pixels.shape[-3]], **more)


def audio_cases():
    """name, mels, seconds, file, every n-th frame, family"""
    yield "whisper_pad", 128, 1, "case_short.wav", 1, "whisper"
    yield "whisper_cut", 80, 1, "case_long.wav", 1, "whisper"
    yield "whisper_30s", 80, 30, "case_long.wav", 50, "whisper"
    yield "qwen2_audio", 80, 1, "case_short.wav", 1, "qwen2_audio"
    yield "qwen2_audio_cut", 80, 1, "case_long.wav", 1, "qwen2_audio"


def check_silence(mel, frames, seen, rows):
    """What Qwen2-Audio's convolutions give for a sound's own rows does not
    depend on frames after the first `seen` ones."""
    torch.manual_seed(0)
    first = torch.nn.Conv1d(mel.shape[0], 8, 3, padding=1)
    second = torch.nn.Conv1d(8, 8, 3, stride=2, padding=1)

    def run(x):
        x = torch.nn.functional.gelu(first(torch.tensor(x)[None]))
        return second(x)[0, :, :rows]

    assert seen == min(frames + 2, mel.shape[1])
    assert torch.allclose(run(mel), run(mel[:, :seen]), atol=1e-6)


def run_audio(out):
    for name, mels, seconds, file, every, family in audio_cases():
        make = transformers.WhisperFeatureExtractor(
            feature_size=mels, chunk_length=seconds,
            return_attention_mask=family == "qwen2_audio")
        wave, rate = soundfile.read(out / file, dtype="float32")
        assert rate == 16000
        made = make(wave, sampling_rate=rate, return_tensors="np",
                    return_attention_mask=True)
        check_printed(out, name, transformers.AutoFeatureExtractor, wave,
                      made["input_features"])
        mel = made["input_features"][0]
        rows = features = mel.shape[1] // 2
        if family == "qwen2_audio":
            fake = types.SimpleNamespace(
                feature_extractor=make, replace_audio_token=lambda *a, **k: "")
            counted, _ = processing_qwen2_audio.Qwen2AudioProcessor.\
                _process_audio(fake, [wave], sampling_rate=rate,
                               return_tensors="np")
            features = int(counted["num_audio_tokens"][0])
            frames = int(made["attention_mask"][0].sum())
            rows = (frames - 1) // 2 + 1
            seen = min(frames + 2, mel.shape[1])
            check_silence(mel, frames, seen, rows)
            mel = mel[:, :seen]
        wanted = f"case_{name}.f32"
        (out / wanted).write_bytes(numpy.ascontiguousarray(
            mel.T[::every]).astype("<f4").tobytes())
        yield dict(name=name, config=json.loads(make.to_json_string()),
                   module=dict(family=family, n_mels=mels, pads_audio=True,
                               max_positions=50 * seconds,
                               pool=2 if family == "qwen2_audio" else 1),
                   file=file, wanted=wanted, every=every,
                   frames=mel.shape[1], rows=rows, features=features)


def write(out, picture, sound):
    """picture(width, height) and sound(count) are processor.py's."""
    for file, (width, height) in PICTURES.items():
        Image.fromarray(picture(width, height)).save(out / file, optimize=True)
    soundfile.write(out / "case_short.wav", sound(7777), 16000, "PCM_16")
    soundfile.write(out / "case_long.wav", sound(20000), 16000, "PCM_16")
    cases = {"vision": list(run_vision(out)), "audio": list(run_audio(out))}
    (out / "cases.json").write_text(json.dumps(cases, indent=1) + "\n")
