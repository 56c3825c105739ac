"""What stands beside the tensors of transformers: preprocessor_config.json and the labels of config.json."""

import json

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import save_file

from vitral.errors import WeightsError
from vitral.images import HALF, IMAGENET_MEAN, IMAGENET_STD
from vitral.weights import load_model, overrides_from, read_checkpoint
from vitral.weights.families.huggingface import vit
from vitral.weights.rules import from_vitral

SETTINGS = {
    "model_type": "vit",
    "image_size": 224,
    "patch_size": 32,
    "num_attention_heads": 4,
    "layer_norm_eps": 1e-6,
}


@pytest.fixture
def folder(small, lively, tmp_path):
    """`folder(processor, classes, channels, **settings)`: a ViT as transformers keeps it, and what stands beside it."""

    def make(processor=None, classes=5, channels=3, **settings):
        config = small(image_size=224, patch_size=32, num_classes=classes, channels=channels)
        tensors = from_vitral(lively(config).state_dict(), vit.rules(config, {"naming": "saved"}), vit.TITLE)
        save_file(tensors, tmp_path / "model.safetensors")
        (tmp_path / "config.json").write_text(json.dumps(SETTINGS | settings))
        if processor is not None:
            (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor))
        return tmp_path

    return make


NORMALISED = {"do_normalize": True, "image_mean": list(IMAGENET_MEAN), "image_std": list(IMAGENET_STD)}
CROP = {"do_center_crop": True, "do_resize": True, **NORMALISED}
PROCESSORS = {
    "ViT": (
        {"size": {"height": 224, "width": 224}, "resample": 2, **NORMALISED},
        ("stretch", "bilinear", 1.0),
    ),
    "ViT, old": ({"size": 224, "resample": 2, **NORMALISED}, ("stretch", "bilinear", 1.0)),
    "nearest": ({"size": 224, "resample": 0, **NORMALISED}, ("stretch", "nearest", 1.0)),
    "DINOv2": (
        {"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}, "resample": 3, **CROP},
        ("crop", "bicubic", 0.875),
    ),
    "CLIP": (
        {"size": {"shortest_edge": 224}, "crop_size": {"height": 224, "width": 224}, "resample": 3, **CROP},
        ("crop", "bicubic", 1.0),
    ),
    "CLIP, old": ({"size": 224, "crop_size": 224, "resample": 3, **CROP}, ("crop", "bicubic", 1.0)),
    "DeiT, old": ({"size": 256, "crop_size": 224, "resample": 3, **CROP}, ("crop", "bicubic", 0.875)),
    "a crop that is switched off": (
        {"size": 224, "crop_size": 160, "resample": 3, **CROP, "do_center_crop": False},
        ("stretch", "bicubic", 1.0),
    ),
}


@pytest.mark.parametrize(("processor", "wanted"), PROCESSORS.values(), ids=PROCESSORS)
def test_preprocessing_is_what_their_file_says(folder, processor, wanted):
    checkpoint = read_checkpoint(folder(processor))
    found = checkpoint.preprocessing
    assert (found.fit, found.interpolation, found.crop_share) == wanted
    assert (found.mean, found.std, found.range) == (IMAGENET_MEAN, IMAGENET_STD, (0.0, 255.0))
    assert checkpoint.origin.assumed == {}


def test_without_their_file_it_is_the_usual_and_noted(folder):
    checkpoint = read_checkpoint(folder())
    found = checkpoint.preprocessing
    assert (found.fit, found.interpolation, found.mean, found.std) == ("stretch", "bilinear", HALF, HALF)
    assert set(checkpoint.origin.assumed) == {"fit", "mean", "std", "interpolation", "crop_share"}


def test_the_users_word_goes_before_both_and_is_no_assumption(folder):
    checkpoint = read_checkpoint(folder(), overrides_from({"mean": IMAGENET_MEAN, "fit": "crop"}))
    assert (checkpoint.preprocessing.mean, checkpoint.preprocessing.fit) == (IMAGENET_MEAN, "crop")
    assert set(checkpoint.origin.assumed) == {"std", "interpolation", "crop_share"}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"resample": 1}, "interpolation"),
        ({"size": {"longest_edge": 224}, "do_resize": False}, "fit"),
        ({"size": {"shortest_edge": 224}}, "fit"),
        ({"size": {"height": 256, "width": 256}, "do_center_crop": True, "crop_size": 224}, "fit"),
    ],
)
def test_what_vitral_does_not_do_alike_is_noted(folder, changes, field):
    processor = {"size": 224, "resample": 2, **NORMALISED} | changes
    assert set(read_checkpoint(folder(processor)).origin.assumed) == {field}


def test_size_and_channels_are_those_of_the_network(folder):
    """DINOv2's processor says 224 pixels, its positions are for 518: the file is about proportions."""
    processor = {"size": {"shortest_edge": 128}, "crop_size": {"height": 112, "width": 112}, **CROP}
    assert read_checkpoint(folder(processor)).preprocessing.size == (224, 224)
    checkpoint = read_checkpoint(folder({"size": 224, **NORMALISED}, channels=1))
    assert checkpoint.preprocessing.channels == 1
    assert checkpoint.preprocessing.mean == (sum(IMAGENET_MEAN) / 3,)
    assert set(checkpoint.origin.assumed) == {"mean", "std"}
    assert checkpoint.preprocessing(Image.new("RGB", (300, 200))).shape == (1, 224, 224)


PEERS = {
    "ViTImageProcessorPil": {},
    "ViTImageProcessorPil, nearest": {"resample": 0},
    "ViTImageProcessorPil, not normalised": {"do_normalize": False},
    "ViTImageProcessorPil, to -1 and 1 by the scale": {"rescale_factor": 1 / 127.5, "image_mean": [1.0] * 3},
    "ViTImageProcessorPil, not rescaled": {
        "do_rescale": False,
        "image_mean": [100.0] * 3,
        "image_std": [50.0] * 3,
    },
    "CLIPImageProcessorPil": {},
    "BitImageProcessorPil": {"size": {"shortest_edge": 256}},
    "BitImageProcessorPil, 224 / (224 / 404) < 404": {"size": {"shortest_edge": 404}},
    "SiglipImageProcessorPil": {},
}


@pytest.mark.parametrize("peer", PEERS)
def test_pixels_are_those_of_transformers(folder, peer):
    transformers = pytest.importorskip("transformers")
    processor = getattr(transformers, peer.partition(",")[0])(**PEERS[peer])
    place = folder()
    processor.save_pretrained(place)
    preprocessing = read_checkpoint(place).preprocessing
    colours = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    for size in ((450, 300), (301, 477), (333, 330)):  # what a crop leaves over may be odd
        image = Image.fromarray(colours).resize(size)
        wanted = processor(images=image, return_tensors="np")["pixel_values"][0]
        found = preprocessing(image)
        assert found.shape == wanted.shape
        assert np.abs(found - wanted).max() <= 1e-6 * np.abs(wanted).max()


def test_class_names_are_the_labels_of_config(folder):
    labels = {"0": "fox", "1": "owl", "2": "elk", "3": "fox", "4": "bee"}
    assert read_checkpoint(folder(id2label=labels)).class_names == ("fox (0)", "owl", "elk", "fox (3)", "bee")
    given = {str(index): f"LABEL_{index}" for index in range(5)}
    assert read_checkpoint(folder(id2label=given)).class_names == tuple(given.values())


def test_two_outputs_without_labels_have_their_default(folder):
    """Two classes named LABEL_0 and LABEL_1 are what their configuration leaves out of the file."""
    assert read_checkpoint(folder(classes=2)).class_names == ("LABEL_0", "LABEL_1")
    assert "LABEL_0" not in read_checkpoint(folder(classes=5)).class_names


def test_a_thousand_outputs_of_a_file_alone_are_imagenets(folder, tmp_path):
    folder(classes=1000)
    alone = (tmp_path / "model.safetensors").rename(tmp_path / "alone.safetensors")
    checkpoint = read_checkpoint(alone, overrides_from({"heads": 4}))
    assert checkpoint.class_names[:2] == ("tench", "goldfish")
    assert "class_names" in checkpoint.origin.assumed


@pytest.mark.parametrize("name", ["num_attention_heads", "layer_norm_eps", "hidden_act", "num_hidden_layers"])
def test_nonsense_in_config_is_named(folder, name):
    with pytest.raises(WeightsError, match=f"{name} is .*restore the file"):
        read_checkpoint(folder(**{name: ["8"]}))


def test_config_of_another_kind_is_not_taken_for_vits(folder):
    """BEiT shares most names with ViT, not what they mean; the tensors alone would be read."""
    with pytest.raises(WeightsError, match=r"is of .beit., which vitral does not know"):
        read_checkpoint(folder(model_type="beit"))


def test_a_folder_with_labels_is_a_classifier_of_these_classes(folder):
    labels = {str(index): name for index, name in enumerate(["ape", "bat", "cat", "dog", "eel"])}
    model = load_model(folder(id2label=labels), class_names=["dog", "ape"])
    whole = load_model(folder(id2label=labels))
    assert model.head.weight.equal(whole.head.weight[[3, 0]])


def test_a_processor_for_images_and_texts_together_is_read_too(folder):
    """As newer transformers writes CLIP's: what is about images stands in a part of its own."""
    place = folder()
    images = {"size": {"shortest_edge": 40}, "crop_size": {"height": 32, "width": 32}, "resample": 2}
    images |= {"do_center_crop": True, "image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}
    (place / "processor_config.json").write_text(json.dumps({"image_processor": images}))
    preprocessing = read_checkpoint(place).preprocessing
    assert preprocessing.mean == (0.1, 0.2, 0.3)
    assert (preprocessing.fit, preprocessing.interpolation) == ("crop", "bilinear")
