"""sonoseek bench encoders: real processes, real products, figures that agree with each other."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from official import write_manifest, write_vit

from app.bench.encoders import compared_with
from app.bench.flops import gflop_per_image
from app.bench.machine import gemm_rate
from app.bench_commands import _precisions
from app.encoders.adding import add_model
from app.encoders.device import choose_placement, free_cores, onednn_computes
from app.encoders.random_weights import RandomWeights
from app.encoders.registry import layout, open_folder
from app.encoders.weights import WeightStore, shipped_models


def test_rows_of_a_bench_agree_with_themselves(tmp_path):
    file = tmp_path / "bench.json"
    command = [sys.executable, "-m", "app", "bench", "encoders", "--encoders", "resnet-us", "--batches", "1,2"]
    environment = {"SONOSEEK_DATA": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([*command, "--json", str(file)], env=environment, capture_output=True, text=True, check=True)
    document = json.loads(file.read_text(encoding="utf-8"))
    (row,) = document["rows"]  # resnet-us knows fp32 only
    assert document["machine"]["device"] == "cpu"
    assert (row["encoder"], row["precision"], row["random_weights"]) == ("resnet-us", "fp32", False)
    assert row["batch"] in (1, 2)
    assert row["gflop_per_s"] == pytest.approx(row["gflop"] * row["images_per_s"], rel=0.02)
    assert row["share_of_gemm"] == pytest.approx(row["gflop_per_s"] / row["gemm_gflop_per_s"], rel=0.02)
    assert 0 < row["share_of_gemm"] < 1
    assert document["machine"]["threads"] == free_cores()
    assert row["threads"] == 1  # which resnet-us takes, and so must the products that it is compared with
    assert "| resnet-us | fp32 |" in done.stdout


@pytest.mark.parametrize(("name", "threads", "expected"), [("resnet-us", 0, 1), ("resnet-us", 2, 2), ("tiny", 2, 2)])
def test_products_are_computed_on_the_threads_that_the_encoder_takes(tmp_path, name, threads, expected):
    write_manifest(tmp_path / "shipped", "tiny")
    write_vit(tmp_path / "tiny.pth")
    store = WeightStore(tmp_path / "installed", shipped_models() if name == "resnet-us" else tmp_path / "shipped")
    if name == "tiny":
        add_model(store, name, tmp_path / "tiny.pth", allow_unknown_digest=True)
    placement = choose_placement("cpu", "fp32", threads)
    encoder = open_folder(store.find(name), placement)
    batch = np.zeros((1, 1 if name == "resnet-us" else 3, 28, 28), np.float32)
    before = torch.get_num_threads()
    try:
        assert compared_with(encoder, batch, placement).threads == expected
        gemm_rate(choose_placement("cpu", "fp32", expected), seconds=0.01)
        assert torch.get_num_threads() == expected
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("path", ["none/x.json", "."])
def test_a_result_that_cannot_be_written_is_told_before_anything_is_measured(tmp_path, path):
    command = [sys.executable, "-m", "app", "bench", "encoders", "--encoders", "resnet-us", "--batches", "1"]
    environment = {"SONOSEEK_DATA": str(tmp_path), "PATH": "/usr/bin:/bin"}
    written = [*command, "--json", str(tmp_path / path)]
    done = subprocess.run(written, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--json" in done.stderr
    assert "measuring" not in done.stderr


def test_an_encoder_without_weights_says_how_to_get_them(tmp_path):
    command = [sys.executable, "-m", "app", "bench", "encoders", "--encoders", "dino-vits16"]
    environment = {"SONOSEEK_DATA": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "weights_missing" in done.stderr
    assert "models fetch dino-vits16" in done.stderr


@pytest.mark.parametrize("option", [("--precisions", "fp64"), ("--batches", "x"), ("--batches", "0")])
def test_options_that_make_no_sense_are_wrong_use(tmp_path, option):
    command = [sys.executable, "-m", "app", "bench", "encoders", "--encoders", "resnet-us", *option]
    environment = {"SONOSEEK_DATA": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert option[0] in done.stderr


def test_without_a_choice_a_precision_is_left_out_that_the_processor_has_no_instructions_for():
    usual = _precisions(None, "cpu")
    assert usual == (["fp32", "bf16"] if onednn_computes(torch.bfloat16) else ["fp32"])
    assert _precisions("bf16,fp32", "cpu") == ["bf16", "fp32"]


def test_operations_are_counted_as_by_hand(tmp_path):
    """DINO S/16 at 224: 197 tokens of width 384, 12 blocks, a multiply-add counted as two."""
    found = WeightStore(tmp_path).find("dino-vits16")
    encoder = open_folder(RandomWeights(found.folder, found.manifest), choose_placement("cpu", "fp32"))
    tokens, width = 197, 384

    def block(asked):  # qkv of all tokens; attention, proj, fc1 and fc2 of those that are asked for
        return 2 * width * width * (3 * tokens + 9 * asked) + 2 * 2 * asked * tokens * width

    patches = 2 * 196 * (3 * 16 * 16) * width
    expected = (11 * block(tokens) + block(1) + patches) / 1e9  # of the last block only the class token is needed
    assert gflop_per_image(encoder, np.zeros((2, 3, 224, 224), np.float32)) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("name", sorted(path.parent.name for path in shipped_models().glob("*/manifest.toml")))
def test_manifests_count_the_parameters_that_are_served(name, tmp_path):
    manifest = WeightStore(tmp_path).find(name).manifest
    if name == "resnet-us":
        return  # counted from its weights in test_resnet
    served = sum(tensor.numel() for tensor in layout(manifest).values())
    assert manifest.parameters == served
    assert manifest.published_parameters is None or manifest.published_parameters >= served
