"""The few lines beside an exported file that run it: numpy, Pillow and the runtime, and nothing of vitral."""

from vitral.images import Preprocessing
from vitral.images.preprocessing import LARGEST_RESIZED
from vitral.inference.description import KEY, Description

FIRST_LINE = '"""Runs the network beside this file, exported by vitral:'
"""How every such script begins; a file that begins otherwise is somebody else's."""

PACKAGES = {"onnx": "onnxruntime", "openvino": "openvino", "torch": "torch"}
ENDINGS = {"onnx": ".onnx", "openvino": ".xml", "torch": ".pt2"}
# Of OpenVINO, which by itself takes whatever is fastest; int8 is left to it.
HINTS = {"fp32": ', {"INFERENCE_PRECISION_HINT": "f32"}', "bf16": ', {"INFERENCE_PRECISION_HINT": "bf16"}'}


def script_for(format: str, description: Description, compiled: bool = False) -> str:
    """A Python program that prints what the network says of images: `python OUT.py IMAGE...`.

    Args:
        format: onnx, openvino or torch.
        description: of the network; its preprocessing is done to the last digit.
        compiled: of torch, whether the file is AOTInductor's.
    """
    seen, package = description.preprocessing, PACKAGES[format]
    head = _HEAD.format(
        first=FIRST_LINE,
        takes="ARRAY.npy" if seen.bands else "IMAGE",
        package=package,
        helpers="" if seen.bands else ", ImageOps",
        zipfile="from zipfile import ZipFile\n" if compiled else "",
        ending=ENDINGS[format],
        size=", ".join(map(str, seen.size)),
    )
    parts = [head.strip("\n")]
    if seen.bands:
        parts += [
            _READ_BANDS.format(low=seen.range[0], high=seen.range[1]),
            _fit(seen),
            _pixels_of_bands(seen),
        ]
    elif description.preprocessing_inside:
        parts += [_READ, _PIXELS_AS_THEY_ARE.format(grey=_grey(seen))]
    else:
        parts += [_READ, _fit(seen), _pixels_of_pictures(seen)]
    return "\n\n\n".join(part.strip("\n") for part in [*parts, _main(format, description, compiled)]) + "\n"


_HEAD = '''
{first} python THIS.py {takes}...

Needs numpy, Pillow and {package}.
"""

import json
import sys
from pathlib import Path
{zipfile}
import numpy as np
import {package}
from PIL import Image{helpers}

FILE = Path(__file__).with_suffix("{ending}")
HEIGHT, WIDTH = {size}
'''

_READ = '''
def read(file):
    """A picture of 8 bits a channel, upright, in RGB, on white where it is transparent."""
    image = ImageOps.exif_transpose(Image.open(file))
    if image.mode.startswith(("I", "F")):
        raise SystemExit(f"{file} has more than 8 bits a channel: convert it first")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")
'''

_READ_BANDS = '''
def read(file):
    """Bands (height, width, channels) of an array in a file, as float32 where {low:g} is 0 and {high:g} is 1."""
    bands = np.load(file, allow_pickle=False).astype(np.float64)
    bands = bands[..., None] if bands.ndim == 2 else bands
    return ((bands - {low!r}) / ({high!r} - {low!r})).astype(np.float32)
'''

_PIXELS_AS_THEY_ARE = '''
def pixels(file):
    """What the network takes, of any size: uint8 (height, width, channels). It resizes the picture itself."""
    image = np.array(read(file){grey})
    return image.reshape(*image.shape[:2], -1)
'''

_CROP = '''
def fit(image):
    """The image resized until it covers {rows} x {columns}, and of that the centre."""
    by_height = {rows} * image.width >= {columns} * image.height
    if by_height:
        height, width = {rows}, max(1, image.width * {rows} // image.height)
    else:
        height, width = max(1, image.height * {columns} // image.width), {columns}
    top, left = (height - HEIGHT) // 2, (width - WIDTH) // 2
    if height * width > {largest}:  # long and thin: cut before it is resized, to save memory
        x, y = image.width / width, image.height / height
        box = left * x, top * y, image.width - (width - left - WIDTH) * x, image.height - (height - top - HEIGHT) * y
        return image.resize((WIDTH, HEIGHT), Image.Resampling.{how}, box)
    image = image.resize((width, height), Image.Resampling.{how})
    return image.crop((left, top, left + WIDTH, top + HEIGHT))
'''

_PAD = '''
def fit(image, colour):
    """The image resized to fit into HEIGHT x WIDTH, in the middle of a colour."""
    if HEIGHT * image.width >= WIDTH * image.height:
        height, width = max(1, image.height * WIDTH // image.width), WIDTH
    else:
        height, width = HEIGHT, max(1, image.width * HEIGHT // image.height)
    fitted = Image.new(image.mode, (WIDTH, HEIGHT), colour)
    image = image.resize((width, height), Image.Resampling.{how})
    fitted.paste(image, ((WIDTH - width) // 2, (HEIGHT - height) // 2))
    return fitted
'''

_STRETCH = '''
def fit(image):
    """The image resized, whatever its proportions."""
    return image.resize((WIDTH, HEIGHT), Image.Resampling.{how})
'''

_PIXELS = '''
def pixels(file):
    """What the network takes: uint8 (height, width, channels)."""
    return np.array(fit(read(file){grey}{colour})).reshape(HEIGHT, WIDTH, {channels})
'''

_PIXELS_OF_BANDS = '''
def pixels(file):
    """What the network takes: float32 (height, width, channels)."""
    bands = read(file)
    planes = [Image.fromarray(bands[..., band]) for band in range({channels})]
    return np.stack({planes}, axis=-1)
'''

_OPEN = {
    "onnx": """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    network = onnxruntime.InferenceSession(FILE, options, providers=["CPUExecutionProvider"])
    about = json.loads(network.get_modelmeta().custom_metadata_map["{key}"])
""",
    "openvino": """
    core = openvino.Core()
    model = core.read_model(FILE)
    about = json.loads(model.get_rt_info(["{key}"]).value)
    network = core.compile_model(model, "CPU"{hint})
""",
    "torch": """
    metadata = {{"{key}": ""}}
    network = torch.export.load(FILE, extra_files=metadata).module()
    about = json.loads(metadata["{key}"])
""",
    "compiled": """
    with ZipFile(FILE) as archive:
        (metadata,) = [name for name in archive.namelist() if name.endswith("/extra/{key}")]
        about = json.loads(archive.read(metadata))
    network = torch._inductor.aoti_load_package(str(FILE))
""",
}
_RUN = {
    "onnx": 'network.run(None, {{"{input}": {image}}})[0][0]',
    "openvino": "network({image})[0][0]",
    "torch": "network(torch.from_numpy({image}))[0].numpy()",
}

_MAIN = """
{decorator}def main(files):
{open}
    for file in files:
        probabilities = {run}
{say}


if __name__ == "__main__":
    main(sys.argv[1:])
"""

_SAY_ONE = """
        best = int(probabilities.argmax())
        print(f"{file}: {about['class_names'][best]} {probabilities[best]:.6f}")
"""

_SAY_SEVERAL = """
        answers = zip(about["class_names"], probabilities, about["thresholds"], strict=True)
        there = [f"{name} {probability:.6f}" for name, probability, threshold in answers if probability >= threshold]
        print(f"{file}: {', '.join(there) or 'none'}")
"""


def _fit(seen: Preprocessing) -> str:
    rows, columns = seen.covered
    form = {"crop": _CROP, "pad": _PAD, "stretch": _STRETCH}[seen.fit]
    return form.format(rows=rows, columns=columns, largest=LARGEST_RESIZED, how=seen.interpolation.upper())


def _grey(seen: Preprocessing) -> str:
    return '.convert("L")' if seen.channels == 1 else ""


def _pixels_of_pictures(seen: Preprocessing) -> str:
    colour = seen.mean_colour if seen.channels == 3 else seen.mean_colour[0]
    return _PIXELS.format(
        grey=_grey(seen), colour=f", {colour}" if seen.fit == "pad" else "", channels=seen.channels
    )


def _pixels_of_bands(seen: Preprocessing) -> str:
    planes = "[np.array(fit(plane)) for plane in planes]"
    if seen.fit == "pad":
        means = ", ".join(repr(float(mean)) for mean in seen.mean)
        planes = f"[np.array(fit(plane, mean)) for plane, mean in zip(planes, [{means}], strict=True)]"
    return _PIXELS_OF_BANDS.format(channels=seen.channels, planes=planes)


def _main(format: str, description: Description, compiled: bool) -> str:
    inside = description.preprocessing_inside
    names = {"key": KEY, "hint": HINTS.get(description.precision, "")}
    image = "pixels(file)" if inside else "pixels(file)[None]"
    return _MAIN.format(
        decorator="@torch.inference_mode()\n" if format == "torch" else "",
        open=_OPEN["compiled" if compiled else format].strip("\n").format(**names),
        run=_RUN[format].format(input="image" if inside else "pixels", image=image),
        say=(_SAY_ONE if description.thresholds is None else _SAY_SEVERAL).strip("\n"),
    )
