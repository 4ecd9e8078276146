#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/golden/processor/: what Pillow and transformers make of small
synthetic pictures and sounds, and the files that tests and fuzzers read.

Needs: pip install pillow numpy transformers soundfile (never in the tests).
Inputs are made from integers only, by the same formulas as in the C tests, so
that no golden input has to be stored. Usage: processor.py [REPOSITORY]
"""
import hashlib
import json
import pathlib
import shutil
import struct
import sys
import zlib

import numpy
import PIL
import soundfile
import transformers
from PIL import Image

import processor_cases

ROOT = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
OUT = ROOT / "tests/golden/processor"


def noise(count, seed):
    """32-bit linear congruential generator, upper 16 bits."""
    out = numpy.empty(count, numpy.uint32)
    state = seed
    for i in range(count):
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        out[i] = state >> 16
    return out


def picture(width, height):
    """A gradient, a checkerboard and some noise: smooth and sharp at once."""
    y, x, c = numpy.mgrid[0:height, 0:width, 0:3]
    value = (x * 5 + y * 3 + c * 40 + ((x // 4 + y // 4) & 1) * 90
             + noise(width * height * 3, 7).reshape(y.shape) % 32)
    return (value % 256).astype(numpy.uint8)


def sound(count):
    """Sawtooth tones of rising pitch, faint noise, then silence."""
    n = numpy.arange(count, dtype=numpy.int64)
    phase = (n * (200 + n // 16)) % 16000
    wave = (phase - 8000) * 2 + noise(count, 11).astype(numpy.int64) % 64
    wave[n >= count * 3 // 4] = 0
    return (wave.astype(numpy.float64) / 32768.0).astype(numpy.float32)


def resizes():
    for width, height, side in ((37, 23, 32), (300, 190, 48), (7, 12, 40),
                                (40, 64, 40), (513, 9, 16)):
        image = Image.fromarray(picture(width, height))
        image = image.resize((side, side), Image.BICUBIC)
        name = f"resize_{width}x{height}_{side}.rgb"
        (OUT / name).write_bytes(image.tobytes())


def siglip():
    processor = transformers.SiglipImageProcessorPil if hasattr(
        transformers, "SiglipImageProcessorPil") else \
        transformers.SiglipImageProcessor
    make = processor(size={"height": 24, "width": 24})
    image = Image.fromarray(picture(61, 45))
    image.save(OUT / "siglip_61x45.png", optimize=True)
    pixels = make(image, return_tensors="np")["pixel_values"][0]
    assert pixels.shape == (3, 24, 24)
    (OUT / "siglip_61x45_24.f32").write_bytes(
        pixels.astype("<f4").tobytes())


def whisper():
    for n_mels, count in ((80, 12800), (128, 3200)):
        make = transformers.WhisperFeatureExtractor(feature_size=n_mels)
        rows = make._np_extract_fbank_features(
            numpy.array([sound(count)]), "cpu")[0].T
        assert rows.shape == (count // 160, n_mels)
        (OUT / f"whisper_{n_mels}_{count}.f32").write_bytes(
            numpy.ascontiguousarray(rows).astype("<f4").tobytes())


def on_white(image):
    rgba = numpy.asarray(image.convert("RGBA")).astype(numpy.int64)
    alpha = rgba[:, :, 3:]
    return ((rgba[:, :, :3] * alpha + 255 * (255 - alpha) + 127) // 255
            ).astype(numpy.uint8)


def save_interlaced(path, rgb):
    """Pillow reads Adam7 but does not write it."""
    def chunk(kind, data):
        return (struct.pack(">I", len(data)) + kind + data
                + struct.pack(">I", zlib.crc32(kind + data)))

    raw = b""
    for x, y, dx, dy in ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8),
                         (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
                         (0, 1, 1, 2)):
        for row in rgb[y::dy, x::dx]:
            raw += b"\0" + row.tobytes()
    height, width, _ = rgb.shape
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(
        b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 1))
        + chunk(b"IDAT", zlib.compress(raw, 9)) + chunk(b"IEND", b""))


def pictures():
    rgb = picture(19, 13)
    alpha = (noise(19 * 13, 3).reshape(13, 19, 1) % 256).astype(numpy.uint8)
    gray = Image.fromarray(rgb[:, :, 0])
    image = Image.fromarray(rgb)
    rgba = Image.fromarray(numpy.concatenate([rgb, alpha], 2))
    palette = image.quantize(16)
    gray16 = Image.fromarray(
        (rgb[:, :, 1].astype(numpy.uint16) * 256 + 99).astype("<u2"))
    image.save(OUT / "rgb.png")
    save_interlaced(OUT / "interlaced.png", rgb)
    rgba.save(OUT / "rgba.png")
    gray.save(OUT / "gray.png")
    gray.convert("1").save(OUT / "bits.png")
    gray16.save(OUT / "gray16.png")
    palette.save(OUT / "palette.png")
    palette.save(OUT / "palette_transparent.png", transparency=3)
    image.save(OUT / "rgb.jpg", quality=80)
    image.save(OUT / "progressive.jpg", quality=60, progressive=True)
    gray.save(OUT / "gray.jpg")
    image.convert("CMYK").save(OUT / "cmyk.jpg")
    image.save(OUT / "lossy.webp", quality=70)
    image.save(OUT / "lossless.webp", lossless=True)
    rgba.save(OUT / "alpha.webp", lossless=True, exact=True)
    for path in sorted(OUT.iterdir()):
        if path.suffix in (".png", ".jpg", ".webp") and \
                path.stem not in ("cmyk", "siglip_61x45"):
            with Image.open(path) as opened:
                if path.stem == "gray16":
                    high = (numpy.asarray(opened) >> 8).astype(numpy.uint8)
                    want = numpy.stack([high] * 3, 2)
                else:
                    want = on_white(opened)
            (OUT / (path.name + ".rgb")).write_bytes(want.tobytes())


def sounds():
    mono = sound(16000)[2000:6000]
    both = numpy.stack([mono, mono * numpy.float32(0.5)], 1)
    soundfile.write(OUT / "mono16k.wav", mono, 16000, "PCM_16")
    soundfile.write(OUT / "stereo44k.wav", both[:2205], 44100, "PCM_16")
    soundfile.write(OUT / "float.wav", mono[:800], 16000, "FLOAT")
    soundfile.write(OUT / "mono.flac", mono, 16000)
    soundfile.write(OUT / "stereo.ogg", both, 22050, format="OGG",
                    subtype="VORBIS")
    soundfile.write(OUT / "mono.opus", mono, 48000, format="OGG",
                    subtype="OPUS")
    soundfile.write(OUT / "mono.mp3", mono, 16000, format="MP3")


def cases():
    processor_cases.write(OUT, picture, sound)


def corpora():
    for kind, endings in (("image", (".png", ".jpg", ".webp")),
                          ("audio", (".wav", ".flac", ".ogg", ".opus",
                                     ".mp3"))):
        folder = ROOT / "fuzz/corpus" / kind
        folder.mkdir(parents=True, exist_ok=True)
        for path in OUT.iterdir():
            if path.suffix in endings:
                shutil.copyfile(path, folder / path.name)


def provenance():
    files = {p.name: hashlib.sha256(p.read_bytes()).hexdigest()
             for p in sorted(OUT.iterdir()) if p.name != "PROVENANCE.json"}
    text = {"script": "tools/golden/processor.py",
            "python": sys.version.split()[0], "pillow": PIL.__version__,
            "numpy": numpy.__version__,
            "transformers": transformers.__version__,
            "soundfile": soundfile.__version__,
            "libsndfile": soundfile.__libsndfile_version__,
            "seeds": {"picture": 7, "alpha": 3, "sound": 11},
            "sha256": files}
    (OUT / "PROVENANCE.json").write_text(json.dumps(text, indent=2) + "\n")


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    for path in OUT.iterdir():
        if path.name != "printed.json":  # our own, checked and kept
            path.unlink()
    for step in (resizes, siglip, whisper, pictures, sounds, corpora, cases,
                 provenance):
        step()


if __name__ == "__main__":
    main()
