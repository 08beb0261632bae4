"""Where a forward pass runs, in which precision, and what its errors mean."""

import os
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from official import write_manifest, write_vit
from shade import frame
from torch import nn

from app.config import EncoderSettings
from app.encoders import device as device_module
from app.encoders.adding import add_model
from app.encoders.base import embed
from app.encoders.batcher import Batcher
from app.encoders.device import DTYPES, Placement, answers, choose_placement, free_cores
from app.encoders.manifest import EncoderManifest
from app.encoders.network_encoder import NetworkEncoder
from app.encoders.registry import open_encoder
from app.encoders.weights import WeightStore
from app.errors import DeviceLost, Misconfigured, Unavailable

gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

CPU, META = torch.device("cpu"), torch.device("meta")


def test_auto_takes_a_gpu_and_bf16_where_there_is_one():
    placement = choose_placement()
    expected = ("cuda", "bf16") if torch.cuda.is_available() else ("cpu", "fp32")
    assert (placement.device.type, placement.precision) == expected
    assert choose_placement("cpu", "bf16").precision == "bf16"


def test_a_device_that_is_not_there_is_named():
    with pytest.raises(Misconfigured) as caught:
        choose_placement("cuda:99")
    assert caught.value.code == "no_such_device"
    assert "cuda:99" in caught.value.detail
    assert "SONOSEEK_ENCODERS__DEVICE" in caught.value.hint


@pytest.mark.parametrize("device", ["cuda:x", "gpu", "cpu:0", "meta", ""])
def test_settings_know_only_devices_that_can_be(device):
    with pytest.raises(ValueError, match="device"):
        EncoderSettings(device=device)
    for known in ("auto", "cpu", "cuda", "cuda:3"):
        assert EncoderSettings(device=known).device == known


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    write_manifest(root / "shipped", "tiny")
    write_vit(root / "tiny.pth")
    found = WeightStore(root / "installed", root / "shipped")
    add_model(found, "tiny", root / "tiny.pth", allow_unknown_digest=True)
    return found


def noise(count):
    random = np.random.default_rng(0)
    return [replace(frame(0), pixels=random.integers(0, 256, (40, 50), dtype=np.uint8)) for _ in range(count)]


def test_each_precision_is_another_digest_and_close_to_the_full_one(store):
    pictures = noise(8)
    encoders = {name: open_encoder("tiny", store, Placement(CPU, name)) for name in DTYPES}
    vectors = {name: embed(encoder, pictures).astype(np.float64) for name, encoder in encoders.items()}
    assert len({encoder.digest for encoder in encoders.values()}) == 3
    assert {name: encoder.precision for name, encoder in encoders.items()} == {name: name for name in DTYPES}
    cosines = {name: (vectors[name] * vectors["fp32"]).sum(axis=1).min() for name in DTYPES}
    assert 0.999 < cosines["bf16"] < cosines["fp16"] < 1 - 1e-9  # they are not computed alike
    assert cosines["fp16"] > 0.99999


class Means(nn.Module):
    """The means of the channels; asks for impossible memory above two pictures, and raises what it is told to."""

    def __init__(self, error=None):
        super().__init__()
        self.error = error
        self.sizes = []

    def forward(self, pictures):
        self.sizes.append(len(pictures))
        if self.error is not None:
            raise self.error
        if len(pictures) > 2:
            torch.empty(1 << 46, dtype=torch.uint8, device=pictures.device)
        return pictures.mean(dim=(2, 3)) + torch.arange(1, 4, device=pictures.device)


class Plain:
    """A transform that does nothing but make three channels."""

    def tensor(self, pixels):
        return np.repeat(pixels[np.newaxis].astype(np.float32), 3, axis=0)


def encoder_of(network, device=CPU, threads=1):
    manifest = EncoderManifest(
        name="means", kind="means", dim=3, parameters=0, licence="none", description="", preprocess={}
    )
    return NetworkEncoder(manifest, Plain(), network, Placement(device, "fp32", threads))


@pytest.mark.parametrize("device", [CPU, pytest.param(torch.device("cuda:0"), marks=gpu)], ids=str)
def test_a_batch_that_does_not_fit_into_memory_goes_through_in_parts(device):
    network = Means()
    encoder = encoder_of(network, device, threads=1)  # with more each core takes a part of its own
    batcher = Batcher([encoder], batch_size=8, queue_size=32)
    try:
        vectors = batcher.encode(encoder, [frame(level) for level in range(8)], deadline_s=10)
    finally:
        batcher.close()
    assert network.sizes == [8, 4, 2, 2, 4, 2, 2]
    expected = np.arange(8)[:, np.newaxis] + [1.0, 2.0, 3.0]
    np.testing.assert_allclose(vectors, expected / np.linalg.norm(expected, axis=1, keepdims=True), rtol=1e-6)


def test_one_picture_that_does_not_fit_is_told_so_without_what_torch_held():
    with pytest.raises(Unavailable) as caught:
        encoder_of(Means(), threads=1).core(np.zeros((3, 3, 4, 4), dtype=np.float32))
    assert caught.value.code == "no_memory"
    assert "SONOSEEK_ENCODERS__BATCH_SIZE" in caught.value.hint
    assert caught.value.__context__ is None  # its frames would keep the tensors of the pass


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
        torch.AcceleratorError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        MemoryError(),
    ],
)
def test_too_little_memory_is_no_lost_device(error):
    with pytest.raises(Unavailable) as caught:
        encoder_of(Means(error), META).core(np.zeros((1, 3, 4, 4), dtype=np.float32))
    assert caught.value.code == "no_memory"


class FirstFails(nn.Module):
    """Raises at once for the piece with the first picture, and takes its time for the others."""

    def __init__(self):
        super().__init__()
        self.ended = 0

    def forward(self, pictures):
        if pictures[0].max() == 0:
            raise RuntimeError("poisoned")
        threading.Event().wait(0.1)
        self.ended += 1
        return pictures.mean(dim=(2, 3))


def test_a_pass_that_fails_has_ended_on_every_core():
    network = FirstFails()
    pictures = np.arange(16, dtype=np.float32)[:, np.newaxis, np.newaxis, np.newaxis].repeat(3, axis=1)
    with pytest.raises(RuntimeError, match="poisoned"):
        encoder_of(network, threads=2).core(pictures)
    assert network.ended == 3  # of four pieces: the next pass would share cores and memory with what is left


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "150000 100000"}, 2),
        ({"cpu.max": "max 100000"}, 64),
        ({"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 64),
        ({}, 64),
    ],
)
def test_a_containers_limit_on_cores_is_kept(monkeypatch, tmp_path, files, cores):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text + "\n", encoding="ascii")
    monkeypatch.setattr(device_module, "_CGROUPS", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: set(range(64)))
    assert free_cores.__wrapped__() == cores


def test_a_device_is_lost_when_it_cannot_add_any_more():
    """torch's meta device stands for one: it takes tensors and never gives a number back."""
    assert answers(CPU)
    assert not answers(META)
    assert not answers(torch.device("cuda:99"))
    error = torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
    with pytest.raises(DeviceLost):
        encoder_of(Means(error), META).core(np.zeros((1, 3, 4, 4), dtype=np.float32))
    with pytest.raises(torch.AcceleratorError):  # the same error on a device that goes on working
        encoder_of(Means(error)).core(np.zeros((1, 3, 4, 4), dtype=np.float32))


@gpu
def test_a_gpu_whose_context_is_spoilt_is_lost():
    """In a process of its own, since nothing on the GPU works there afterwards."""
    script = (
        "import numpy as np, torch\n"
        "from torch import nn\n"
        "from test_device import encoder_of\n"
        "class Wrong(nn.Module):\n"
        "    def forward(self, pictures):\n"
        "        return pictures.flatten()[torch.full((1, 3), 1 << 40, device=pictures.device)]\n"
        "encoder_of(Wrong(), torch.device('cuda:0')).core(np.zeros((1, 3, 4, 4), dtype=np.float32))\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert result.returncode == 1
    assert "DeviceLost" in result.stderr
