"""WEIGHTS that are names: fetched once from a hub that stands in for the real ones, then found without network."""

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from torchvision.models import VisionTransformer, get_model_weights

from vitral.errors import UsageError, VitralError, WeightsError
from vitral.files import cache_folder
from vitral.weights import find_source, load_model, read_checkpoint
from vitral.weights.timm_names import DEFAULT_TAGS, NAMES

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def tensors(**changes: int) -> dict[str, torch.Tensor]:
    shape = {
        "image_size": 8,
        "patch_size": 4,
        "num_layers": 1,
        "num_heads": 1,
        "hidden_dim": 64,
        "mlp_dim": 8,
    }
    torch.manual_seed(0)
    return VisionTransformer(**(shape | {"num_classes": 3} | changes)).state_dict()


def saved(**changes: int) -> bytes:
    return safetensors.torch.save(tensors(**changes))


def saved_as_pth(**changes: int) -> bytes:
    stream = io.BytesIO()
    torch.save(tensors(**changes), stream)
    return stream.getvalue()


class Hub:
    """Files over HTTP as the Hugging Face hub gives them, and plain ones under /files/."""

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.revisions = {"main", COMMIT}
        self.refusals: dict[
            str, tuple[int, str]
        ] = {}  # by the beginning of a path: status and the hub's word for it
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def fetched(self) -> list[str]:
        """The names of the files that were sent."""
        found = [
            path.rpartition("/")[2] for path in self.asked if path.startswith("GET ") and "/resolve/" in path
        ]
        return sorted(found)

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        for beginning, (status, word) in self.refusals.items():
            if path.startswith(beginning):
                return status, {"X-Error-Code": word}, b"<html>no</html>"
        if path.startswith("/files/") and path.removeprefix("/files/") in self.files:
            return 200, {}, self.files[path.removeprefix("/files/")]
        match = re.fullmatch(r"/api/models/([^/]+/[^/]+?)(/revision/(.+))?", path)
        if match and match[1] in self.repositories:
            if unquote(match[3] or "main") not in self.revisions:
                return 404, {"X-Error-Code": "RevisionNotFound"}, b"{}"
            names = [{"rfilename": name} for name in self.repositories[match[1]]]
            return 200, {}, json.dumps({"id": match[1], "sha": COMMIT, "siblings": names}).encode()
        match = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        if match and match[1] in self.repositories and unquote(match[3]) in self.repositories[match[1]]:
            content = self.repositories[match[1]][unquote(match[3])]
            return 200, {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha256(content).hexdigest()}"'}, content
        return 401, {"X-Error-Code": "RepoNotFound"}, b"{}"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = urlsplit(self.path).path
                hub.asked.append(f"{self.command} {path}")
                status, headers, content = hub.answer(path)
                self.send_response(status)
                for name, value in (headers | {"Content-Length": str(len(content))}).items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(content)

            do_HEAD = do_GET

            def log_message(self, *_: object) -> None:
                pass

        return Handler


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub in place of the Hugging Face hub, whose cache is empty; vitral's own is too."""
    from huggingface_hub import constants

    served = Hub()
    monkeypatch.setattr(constants, "ENDPOINT", served.address)
    template = served.address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", True)
    monkeypatch.setenv("VITRAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield served
    served.close()


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """`offline()`: as HF_HUB_OFFLINE=1 does."""
    from huggingface_hub import constants

    return lambda: monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def line(weights: str, kind: type[VitralError] = WeightsError) -> str:
    """The line in which these WEIGHTS are refused."""
    with pytest.raises(kind) as caught:
        find_source(weights)
    assert type(caught.value) is kind
    assert str(caught.value).isprintable()
    return str(caught.value)


CONFIG = json.dumps({"architectures": ["Any"], "hidden_size": 64}).encode()


def test_a_repository_is_fetched_once_and_found_without_network(hub: Hub, offline: Callable) -> None:
    hub.repositories["some/vit"] = {
        ".gitattributes": b"",
        "README.md": b"# A network",
        "config.json": CONFIG,
        "preprocessor_config.json": b'{"size": 8}',
        "model.safetensors": saved(),
        "pytorch_model.bin": b"the same once more",
        "tf_model.h5": b"and once more",
    }
    model = load_model("hf:some/vit")
    assert hub.fetched() == ["config.json", "model.safetensors", "preprocessor_config.json"]
    assert torch.equal(model.head.weight, tensors()["heads.head.weight"])
    source = find_source("hf:some/vit")
    assert source.config == json.loads(CONFIG)
    assert source.processor == {"size": 8}
    assert len(hub.fetched()) == 3
    hub.close()
    assert find_source("hf:some/vit") == source
    offline()
    assert find_source("hf:some/vit") == source


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["model.safetensors", "model.safetensors.index.json"], ["model.safetensors"]),
        (["pytorch_model.bin", "training_args.bin", "optimizer.pt", "model.npz"], ["pytorch_model.bin"]),
        (["B_16.npz"], ["B_16.npz"]),
        (["checkpoint.pth", "scheduler.pt", "rng_state.pth", "flax_model.msgpack"], ["checkpoint.pth"]),
        (["open_clip_pytorch_model.bin", "open_clip_model.safetensors"], ["open_clip_model.safetensors"]),
        (["onnx/model.onnx", "fp16/model.safetensors", "weights.pt"], ["weights.pt"]),
    ],
)
def test_the_best_file_of_weights_is_taken(hub: Hub, names: list[str], chosen: list[str]) -> None:
    hub.repositories["some/vit"] = dict.fromkeys(names, b"content")
    assert find_source("hf:some/vit").tensors.name == chosen[0]
    assert hub.fetched() == chosen


def test_the_parts_of_a_large_network_are_fetched(hub: Hub, offline: Callable) -> None:
    whole = tensors()
    halves = {"model-00001-of-00002.safetensors": {}, "model-00002-of-00002.safetensors": {}}
    for number, (name, tensor) in enumerate(whole.items()):
        list(halves.values())[number % 2][name] = tensor
    index = {"weight_map": {name: part for part, half in halves.items() for name in half}}
    hub.repositories["some/giant"] = {
        "model.safetensors.index.json": json.dumps(index).encode(),
        **{part: safetensors.torch.save(half) for part, half in halves.items()},
        "model-00003-of-00003.safetensors": b"of another time",
    }
    assert torch.equal(load_model("hf:some/giant").head.weight, whole["heads.head.weight"])
    assert hub.fetched() == [*halves, "model.safetensors.index.json"]
    offline()
    assert torch.equal(load_model("hf:some/giant").head.bias, whole["heads.head.bias"])
    (find_source("hf:some/giant").tensors.parent / "model-00002-of-00002.safetensors").unlink()
    assert "lies in no cache" in line("hf:some/giant")


@pytest.mark.parametrize(
    "name", ["../../evil.safetensors", "/evil.npz", "..\\evil.pth", "..", "a b.pth", "x\n.pth"]
)
def test_an_index_or_a_list_that_leads_elsewhere_is_refused(hub: Hub, name: str) -> None:
    hub.repositories["some/vit"] = {name: saved()}
    assert "no weights that vitral reads" in line("hf:some/vit")
    index = json.dumps({"weight_map": {"a": name}}).encode()
    hub.repositories["some/vit"] = {"model.safetensors.index.json": index, name: saved()}
    assert "no file beside it" in line("hf:some/vit")
    assert hub.fetched() == ["model.safetensors.index.json"]


def test_a_repository_without_weights_for_vitral_is_answered_with_what_it_holds(hub: Hub) -> None:
    hub.repositories["some/keras"] = {"config.json": CONFIG, "tf_model.h5": b"", "flax_model.msgpack": b""}
    assert "but config.json, tf_model.h5, flax_model.msgpack" in line("hf:some/keras")
    hub.repositories["some/all"] = {f"S_{patch}.npz": b"" for patch in (8, 16, 32)}
    assert "several files of weights (S_16.npz, S_32.npz, S_8.npz" in line("hf:some/all")
    hub.repositories["some/nothing"] = {}
    assert "but nothing" in line("hf:some/nothing")
    assert hub.fetched() == []


def test_what_the_hub_refuses_is_said_with_the_remedy(hub: Hub) -> None:
    hub.repositories["some/gated"] = {"config.json": CONFIG, "model.safetensors": saved()}
    hub.refusals["/some/gated/resolve"] = (403, "GatedRepo")
    text = line("hf:some/gated")
    assert "https://huggingface.co/some/gated" in text
    assert "hf auth login" in text
    assert "HF_TOKEN" in text
    text = line("hf:some/mistake", UsageError)
    assert "no repository some/mistake" in text
    assert "check the name" in text
    hub.repositories["some/vit"] = {"model.safetensors": saved()}
    assert "no revision v9" in line("hf:some/vit@v9", UsageError)


@pytest.mark.parametrize("status", [200, 404, 500, 503])
def test_a_hub_that_answers_nonsense_is_as_no_network(hub: Hub, status: int) -> None:
    hub.refusals["/api"] = (status, "")
    assert "cannot be fetched" in line("hf:some/vit")


def test_a_revision_is_asked_for_and_kept_apart(hub: Hub, offline: Callable) -> None:
    hub.revisions = {"refs/pr/1", "v1.0", COMMIT}
    hub.repositories["some/vit"] = {"model.safetensors": saved()}
    for revision in hub.revisions:
        hub.asked.clear()
        find_source(f"hf:some/vit@{revision}")
        assert f"GET /api/models/some/vit/revision/{quote(revision, safe='')}" in hub.asked
    offline()
    for revision in hub.revisions:
        find_source(f"hf:some/vit@{revision}")
    assert "lies in no cache" in line("hf:some/vit")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "vit",
        "/vit",
        "a/",
        "a/b/c",
        "../b",
        "a/..",
        "a/b..c",
        "a/b@",
        "a/b@../c",
        "a/b@/c",
        "a b/c",
        "a/b\n",
        "a@b",
    ],
)
def test_what_is_no_name_of_a_repository_never_leaves_the_machine(hub: Hub, name: str) -> None:
    assert "write hf:OWNER/NAME" in line(f"hf:{name}", UsageError)
    assert hub.asked == []


@pytest.mark.parametrize(
    ("weights", "folder"),
    [
        ("hf:some/vit", "some--vit"),
        ("hf:some/vit@refs/pr/1", "some--vit@refs--pr--1"),
        ("timm:vit_base_patch16_224", "timm--vit_base_patch16_224.augreg2_in21k_ft_in1k"),
    ],
)
def test_without_network_the_line_names_the_folder_and_files_put_there_are_found(
    hub: Hub, weights: str, folder: str
) -> None:
    hub.close()
    text = line(weights)
    place = Path(text.rpartition(" ")[2])
    assert place == cache_folder("weights") / folder
    place.mkdir(parents=True)
    (place / "config.json").write_bytes(CONFIG)
    (place / "model.safetensors").write_bytes(saved())
    assert load_model(weights).config.dim == 64
    assert find_source(weights).config["hidden_size"] == 64


def test_a_folder_put_there_by_hand_wins_over_the_hub(hub: Hub) -> None:
    hub.repositories["some/vit"] = {"model.safetensors": saved(num_classes=4)}
    assert load_model("hf:some/vit").config.num_classes == 4
    place = cache_folder("weights") / "some--vit"
    place.mkdir(parents=True)
    (place / "weights.pth").write_bytes(saved_as_pth())
    hub.asked.clear()
    assert load_model("hf:some/vit").config.num_classes == 3
    assert hub.asked == []
    (place / "weights.pth").unlink()
    assert str(place) in line("hf:some/vit", UsageError)


def put_into_cache(cache: Path, repository: str, files: dict[str, bytes]) -> None:
    """As the hub's own library leaves them."""
    folder = cache / f"models--{repository.replace('/', '--')}"
    (folder / "blobs").mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "snapshots" / COMMIT).mkdir(parents=True)
    (folder / "refs" / "main").write_text(COMMIT)
    for name, content in files.items():
        blob = folder / "blobs" / hashlib.sha256(content).hexdigest()
        blob.write_bytes(content)
        if sys.platform == "win32":
            shutil.copy(blob, folder / "snapshots" / COMMIT / name)
        else:
            (folder / "snapshots" / COMMIT / name).symlink_to(f"../../blobs/{blob.name}")


def test_what_other_libraries_fetched_is_found_offline(hub: Hub, tmp_path: Path, offline: Callable) -> None:
    offline()
    files = {"config.json": CONFIG, "model.safetensors": saved()}
    put_into_cache(tmp_path / "hub", "some/vit", files)
    source = find_source("hf:some/vit")
    assert source.tensors.name == "model.safetensors"
    assert source.config == json.loads(CONFIG)
    assert torch.equal(load_model("hf:some/vit").head.bias, tensors()["heads.head.bias"])
    assert find_source(f"hf:some/vit@{COMMIT}").tensors == source.tensors
    put_into_cache(tmp_path / "hub", "some/half", {"config.json": CONFIG})  # the weights never came
    assert "offline mode is enabled" in line("hf:some/half")
    assert hub.asked == []


SCRIPT = """
import json, sys
from vitral.errors import VitralError
from vitral.weights import find_source, load_model
assert "huggingface_hub" not in sys.modules, "imported before it is needed"
for weights in sys.argv[1:]:
    try:
        load_model(weights)
        print(find_source(weights).tensors)
    except VitralError as error:
        print(error)
"""


def test_the_environments_endpoint_cache_and_offline_switch_hold(hub: Hub, tmp_path: Path) -> None:
    """In processes of their own, as users run them, the hub's library as it is."""
    hub.repositories["some/vit"] = {"config.json": CONFIG, "model.safetensors": saved()}

    def run(*weights: str, **more: str) -> list[str]:
        surroundings = {"HF_ENDPOINT": hub.address, "HF_HUB_CACHE": str(tmp_path / "elsewhere")}
        command = [sys.executable, "-c", SCRIPT, *weights]
        done = subprocess.run(
            command, env=os.environ | surroundings | more, stdout=subprocess.PIPE, text=True
        )
        assert done.returncode == 0
        return done.stdout.splitlines()

    first = run("hf:some/vit")
    assert first[0].startswith(str(tmp_path / "elsewhere"))
    hub.close()
    again = run("hf:some/vit", "hf:some/other", HF_HUB_OFFLINE="1")
    assert again[0] == first[0]
    assert "hf:some/other cannot be fetched" in again[1]


def test_vitrals_own_checkpoint_may_lie_on_the_hub(hub: Hub, tmp_path: Path) -> None:
    from vitral.weights import write_checkpoint

    (tmp_path / "w.pth").write_bytes(saved_as_pth())
    write_checkpoint(tmp_path / "own", read_checkpoint(tmp_path / "w.pth"))
    hub.repositories["me/vit"] = {file.name: file.read_bytes() for file in (tmp_path / "own").iterdir()}
    assert find_source("hf:me/vit").own
    assert torch.equal(load_model("hf:me/vit").head.bias, tensors()["heads.head.bias"])


@pytest.mark.parametrize(
    ("name", "repository"),
    [
        ("vit_small_patch16_224.augreg_in21k", "timm/vit_small_patch16_224.augreg_in21k"),
        ("vit_small_patch16_224", "timm/vit_small_patch16_224.augreg_in21k_ft_in1k"),
        ("vit_of_tomorrow.some_tag", "timm/vit_of_tomorrow.some_tag"),
        ("vit_base_patch32_clip_quickgelu_224.openai", "timm/vit_base_patch32_clip_224.openai"),
    ],
)
def test_timms_names_mean_its_repositories(hub: Hub, name: str, repository: str) -> None:
    document = {"architecture": "vit_base_patch32_clip_224", "num_classes": 0}
    hub.repositories[repository] = {
        "config.json": json.dumps(document).encode(),
        "model.safetensors": saved(),
    }
    source = find_source(f"timm:{name}")
    # Whose repository is another's too, is told apart by the name alone.
    assert source.config == {"architecture": name.partition(".")[0], "num_classes": 0}


def test_timms_unknown_names_are_answered_with_near_ones(hub: Hub) -> None:
    assert "did you mean vit_small_patch16_224" in line("timm:vit_smal_patch16_224", UsageError)
    for name in ("", "resnet50", "vit_base_patch16_224.a/b", "../x.y", "a..b", ".tag", "x."):
        assert "timm" in line(f"timm:{name}", UsageError)
    assert hub.asked == []
    assert "no repository timm/vit_base_patch16_224.mistake" in line(
        "timm:vit_base_patch16_224.mistake", UsageError
    )


# Networks in timm's files of Vision Transformers that vitral refuses, or whose weights are not on the hub.
NOT_READ = re.compile(
    r"aimv2_.+|eva02_enormous_.+|test_vit.*|vit_5b_.+|vit_(d?pwee|dwee|dlittle)_.+|vit_base_mci_224|vit_intern.+|vit_pe_.+"
    r"|vit_base_patch16_rpn_224|.+_ijepa|.+_lingbot|.+_radio_v\d|.+_rope_(mixed_)?(ape_)?224|.+_sapiens2"
)


def test_the_table_of_tags_is_timms() -> None:
    timm = pytest.importorskip("timm")
    expected = {}
    for module in ("deit", "eva", "vision_transformer", "vision_transformer_hybrid"):
        for name in timm.list_models(module=module):
            known = timm.get_pretrained_cfg(name)
            if known is None or not known.hf_hub_id or NOT_READ.fullmatch(name):
                continue
            expected[name] = known.tag
            repository = f"timm/{name.replace('_clip_quickgelu_', '_clip_')}.{known.tag}"
            assert known.hf_hub_id == repository
    assert expected == DEFAULT_TAGS
    assert NAMES.split() == sorted(NAMES.split())


@pytest.fixture
def torch_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder where torch.hub keeps checkpoints."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch" / "hub" / "checkpoints"


def serve_vit_b_16(hub: Hub, monkeypatch: pytest.MonkeyPatch, content: bytes, fingerprint: str) -> str:
    name = f"vit_b_16-{fingerprint[:8]}.pth"
    hub.files[name] = content
    entry = get_model_weights("vit_b_16").IMAGENET1K_V1.value
    monkeypatch.setattr(entry, "url", f"{hub.address}/files/{name}")
    return name


def test_torchvisions_weights_are_fetched_once_and_found_without_network(
    hub: Hub, torch_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = saved_as_pth(num_classes=1000)
    name = serve_vit_b_16(hub, monkeypatch, content, hashlib.sha256(content).hexdigest())
    checkpoint = read_checkpoint("torchvision:vit_b_16")
    assert (torch_home / name).read_bytes() == content
    assert checkpoint.class_names[:2] == ("tench", "goldfish")
    assert checkpoint.origin is not None
    assert not checkpoint.origin.assumed
    hub.close()
    for weights in ("vit_b_16.IMAGENET1K_V1", "ViT_B_16_Weights.IMAGENET1K_V1", "ViT_B_16_Weights.DEFAULT"):
        assert find_source(f"torchvision:{weights}").tensors == torch_home / name


def test_a_download_of_another_hash_is_refused_and_not_kept(
    hub: Hub, torch_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = serve_vit_b_16(hub, monkeypatch, saved_as_pth(), "0" * 8)
    assert "invalid hash" in line("torchvision:vit_b_16")
    assert list(torch_home.iterdir()) == []
    hub.close()
    text = line("torchvision:vit_b_16")
    assert f"put {name} by hand into {torch_home}, from {hub.address}/files/{name}" in text
    (torch_home / name).write_bytes(saved_as_pth())
    assert load_model("torchvision:vit_b_16").config.num_classes == 3


TORCHVISIONS = [
    f"{builder}.{entry.name}"
    for builder in ("vit_b_16", "vit_b_32", "vit_l_16", "vit_l_32", "vit_h_14")
    for entry in get_model_weights(builder)
]


@pytest.mark.parametrize("name", TORCHVISIONS)
def test_images_go_through_what_torchvision_lists_beside_its_weights(torch_home: Path, name: str) -> None:
    builder, _, weights = name.partition(".")
    entry = get_model_weights(builder)[weights]
    transforms, size = entry.transforms(), entry.meta["min_size"][0]
    torch_home.mkdir(parents=True)
    content = saved_as_pth(image_size=size, patch_size=int(builder[-2:]), num_classes=1000)
    (torch_home / Path(urlsplit(entry.url).path).name).write_bytes(content)
    checkpoint = read_checkpoint(f"torchvision:{name}")
    assert checkpoint.preprocessing.size == (size, size)
    assert len(checkpoint.class_names) == len(entry.meta["categories"])
    pixels = np.random.default_rng(0).integers(0, 256, (60, 120, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels).resize((1200, 600), Image.Resampling.BICUBIC)
    found, expected = checkpoint.preprocessing(picture), transforms(picture).numpy()
    assert np.abs(found - expected).max() < 1e-5


def test_torchvisions_unknown_names_are_answered_with_known_ones(torch_home: Path) -> None:
    assert "did you mean vit_b_16?" in line("torchvision:vit_b16", UsageError)
    assert "vit_l_32" in line("torchvision:resnet50", UsageError)
    assert "vit_l_32" in line("torchvision:", UsageError)
    text = line("torchvision:vit_b_16.IMAGENET21K", UsageError)
    assert "IMAGENET1K_SWAG_E2E_V1" in text
    assert not torch_home.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="a file's name may hold no colon there")
@pytest.mark.parametrize("weights", ["hf:some", "timm:vit_base_patch16_224", "torchvision:vit_b_16"])
def test_a_path_that_exists_wins_over_a_name(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(weights).write_bytes(saved())
    assert load_model(weights).config.num_classes == 3
    assert hub.asked == []


def test_what_is_neither_path_nor_name_is_answered_with_the_forms(tmp_path: Path) -> None:
    for weights in ("nowhere", "hub:a/b", f"{tmp_path}/nowhere.pth", "x" * 5000, "a\0b"):
        with pytest.raises(UsageError, match="hf:OWNER/NAME, timm:NAME or torchvision:NAME"):
            find_source(weights)


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["meus pesos (1).pth"], "meus pesos (1).pth"),
        (["a.safetensors", "a.bin"], "a.safetensors"),
        (["training_args.bin", "média.npz"], "média.npz"),
        (["a.pth", "b.pth"], None),
        (["a.txt"], None),
    ],
)
def test_a_folders_weights(tmp_path: Path, names: list[str], chosen: str | None) -> None:
    for name in names:
        (tmp_path / name).write_bytes(b"")
    if chosen is None:
        assert str(tmp_path) in line(str(tmp_path), UsageError)
    else:
        assert find_source(tmp_path).tensors.name == chosen
