"""Official files into the store: what is checked, what is refused, and that a refusal changes nothing."""

import os
import pickle
import resource
from argparse import Namespace

import numpy as np
import pytest
import torch
from official import TINY, write_manifest, write_vit

from app.domain import Frame, ImageFacts
from app.encoders.adding import add_model
from app.encoders.base import embed
from app.encoders.checkpoint import read_checkpoint, state_dict
from app.encoders.registry import open_encoder
from app.encoders.weights import WeightStore, sha256_of
from app.errors import BadInput, Conflict, Misconfigured, NotFound


@pytest.fixture
def store(tmp_path):
    write_manifest(tmp_path / "shipped", "tiny")
    return WeightStore(tmp_path / "installed", tmp_path / "shipped")


@pytest.fixture
def official(tmp_path):
    path = tmp_path / "tiny.pth"
    write_vit(path, mask_token=torch.zeros(1, 64))
    return path


def frame(seed=0, shape=(40, 50)):
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    return Frame(pixels, ImageFacts(sha256="", format="png", width=shape[1], height=shape[0]))


def contents(folder):
    return sorted((str(path.relative_to(folder)), path.stat().st_size) for path in folder.rglob("*"))


def test_an_added_encoder_opens_and_embeds(store, official):
    added = add_model(store, "tiny", official, allow_unknown_digest=True)
    assert added.installed
    assert added.manifest.model_extra["installed_from"] == [
        {"file": "tiny.pth", "sha256": sha256_of(official), "known": False}
    ]
    vectors = embed(open_encoder("tiny", store), [frame(0), frame(1, (40, 50, 3))])
    assert vectors.shape == (2, 64)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)
    assert contents(store.find("tiny").folder.parent) == contents(added.folder.parent)  # nothing is left over


def test_a_folder_with_the_official_name_will_do_and_another_name_for_one_file(store, official, tmp_path):
    first = add_model(store, "tiny", official.parent, allow_unknown_digest=True).manifest
    other = official.rename(tmp_path / "renamed.bin")
    assert add_model(store, "tiny", other, allow_unknown_digest=True).manifest == first


def test_another_name_keeps_other_preprocessing_apart(store, official):
    plain = add_model(store, "tiny", official, allow_unknown_digest=True)
    padded = add_model(store, "tiny", official, allow_unknown_digest=True, under="tiny-pad", fit="pad", size=42)
    assert padded.manifest.digest("fp32") != plain.manifest.digest("fp32")
    assert padded.manifest.weights.sha256 == plain.manifest.weights.sha256
    assert open_encoder("tiny-pad", store).pre(frame()).shape == (3, 42, 42)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda tensors: tensors.pop("norm.bias"), "missing: norm.bias"),
        (lambda tensors: tensors.update(head=torch.zeros(2)), "unexpected: head"),
        (lambda tensors: tensors.update({"norm.bias": torch.zeros(32)}), "norm.bias is (32,) float32, not (64,)"),
        (
            lambda tensors: tensors.update({"norm.bias": torch.zeros(64, dtype=torch.int32)}),
            "norm.bias is (64,) int32, not (64,) of floating point",
        ),
    ],
)
def test_every_key_and_shape_is_checked(store, official, change, says):
    tensors = torch.load(official)
    change(tensors)
    torch.save(tensors, official)
    with pytest.raises(BadInput) as caught:
        add_model(store, "tiny", official, allow_unknown_digest=True)
    assert caught.value.code == "wrong_checkpoint"
    assert says in caught.value.detail
    assert not store.find("tiny").installed


def test_files_of_another_precision_are_served_in_fp32_and_it_is_recorded(store, official):
    tensors = torch.load(official)
    assert add_model(store, "tiny", official, allow_unknown_digest=True).manifest.converted_from == ()
    for types, names in (((torch.float16,), ("float16",)), ((torch.float64, torch.bfloat16), ("bfloat16", "float64"))):
        mixed = {key: value.to(types[number % len(types)]) for number, (key, value) in enumerate(tensors.items())}
        torch.save(mixed, official)
        added = add_model(store, "tiny", official, allow_unknown_digest=True)
        assert {tensor.dtype for tensor in added.tensors().values()} == {torch.float32}
        assert added.manifest.converted_from == names


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda tensor: tensor.to_sparse(), "sparse_coo"),
        (lambda tensor: tensor.to("meta"), "meta"),
    ],
)
def test_tensors_whose_numbers_do_not_lie_there_as_they_are_are_refused(store, official, change, says):
    tensors = torch.load(official)
    tensors["norm.weight"] = change(tensors["norm.weight"])
    torch.save(tensors, official)
    with pytest.raises(BadInput) as caught:
        add_model(store, "tiny", official, allow_unknown_digest=True)
    assert caught.value.code == "unusable_tensors"
    assert f"norm.weight ({says})" in caught.value.detail
    assert not store.find("tiny").installed


def test_tensors_that_share_their_memory_are_stored_apart(store, official):
    tensors = torch.load(official)
    tensors["blocks.1.norm1.weight"] = tensors["blocks.0.norm1.weight"]
    torch.save(tensors, official)
    stored = add_model(store, "tiny", official, allow_unknown_digest=True).tensors()
    for block in (0, 1):
        assert torch.equal(stored[f"blocks.{block}.norm1.weight"], tensors["blocks.0.norm1.weight"])


class Payload:
    """A pickle that would write a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_code_in_a_pickle_does_not_run(store, tmp_path):
    for name, write in (
        ("new.pth", torch.save),
        ("old.pth", lambda content, path: path.write_bytes(pickle.dumps(content))),
    ):
        path = tmp_path / name
        write({"a": Payload(tmp_path / "ran")}, path)
        with pytest.raises(BadInput) as caught:
            add_model(store, "tiny", path, allow_unknown_digest=True)
        assert caught.value.code == "unsafe_checkpoint"
        assert not (tmp_path / "ran").exists()


class Settings(Namespace):
    """Not the class that is let through, though it looks like it."""


@pytest.mark.parametrize("old", [False, True])
def test_the_arguments_of_a_training_run_may_stand_beside_the_tensors(tmp_path, old):
    """As in the official file of SynCLR."""
    path = tmp_path / "synclr.pth"
    content = {"model": {"a": torch.ones(2)}, "args": Namespace(lr=0.1, betas=[0.9, 0.98])}
    torch.save(content, path, _use_new_zipfile_serialization=not old)
    assert state_dict(path, read_checkpoint(path), "model")["a"].sum() == 2


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("kind", [Namespace, Settings])
def test_code_in_the_arguments_of_a_training_run_does_not_run(tmp_path, kind, old):
    path = tmp_path / "synclr.pth"
    content = {"model": {"a": torch.ones(2)}, "args": kind(run=Payload(tmp_path / "ran"))}
    torch.save(content, path, _use_new_zipfile_serialization=not old)
    with pytest.raises(BadInput) as caught:
        read_checkpoint(path)
    assert caught.value.code == "unsafe_checkpoint"
    assert not (tmp_path / "ran").exists()
    torch.save({"args": Settings(lr=0.1)}, path, _use_new_zipfile_serialization=not old)
    with pytest.raises(BadInput):
        read_checkpoint(path)


@pytest.mark.parametrize("size", [0, 100, 20_000])
def test_a_file_that_is_cut_short_is_refused(store, official, size):
    os.truncate(official, size)
    with pytest.raises(BadInput) as caught:
        add_model(store, "tiny", official, allow_unknown_digest=True)
    assert caught.value.code == "not_a_checkpoint"


@pytest.mark.parametrize("old", [False, True])
def test_a_damaged_file_is_refused_or_read_but_never_a_crash(tmp_path, old):
    path = tmp_path / "damaged.pth"
    torch.save({"a": torch.ones(3), "b": {"c": torch.zeros(2, 2)}}, path, _use_new_zipfile_serialization=not old)
    whole = path.read_bytes()
    draw = np.random.default_rng(0)
    refused = set()
    for _ in range(400):
        damaged = bytearray(whole)
        damaged[draw.integers(1, len(whole))] = draw.integers(256)
        path.write_bytes(damaged)
        try:
            state_dict(path, read_checkpoint(path), "b")
        except BadInput as error:
            refused.add(error.code)
    assert refused == {"not_a_checkpoint", "unsafe_checkpoint"}


@pytest.mark.parametrize("content", [{1: torch.ones(2)}, {"a": torch.ones(2), None: torch.ones(2)}])
def test_tensors_without_names_are_refused(store, tmp_path, content):
    for inner in (content, {"model": content}):
        path = tmp_path / "tiny.pth"
        torch.save(inner, path)
        with pytest.raises(BadInput) as caught:
            state_dict(path, read_checkpoint(path), *(["model"] if "model" in inner else []))
        assert caught.value.code == "not_a_checkpoint"


@pytest.mark.parametrize("option", ["licence", "output"])
def test_an_option_that_says_nothing_of_official_files_is_refused(store, official, option):
    with pytest.raises(BadInput) as caught:
        add_model(store, "tiny", official, allow_unknown_digest=True, **{option: "cls"})
    assert (caught.value.code, caught.value.exit_code) == ("option_without_effect", 2)
    assert f"--{option}" in caught.value.detail
    assert not store.find("tiny").installed


def test_a_training_checkpoint_gets_a_hint(store, official):
    torch.save({"teacher": torch.load(official), "student": {}}, official)
    with pytest.raises(BadInput) as caught:
        add_model(store, "tiny", official, allow_unknown_digest=True)
    assert caught.value.code == "training_checkpoint"
    assert "_pretrain.pth" in caught.value.hint


def test_digests_are_asked_for(store, official, tmp_path):
    with pytest.raises(BadInput) as caught:
        add_model(store, "tiny", official)
    assert caught.value.code == "unknown_digest"
    write_manifest(tmp_path / "shipped", "known", digests={"tiny.pth": sha256_of(official)})
    assert add_model(store, "known", official).manifest.model_extra["installed_from"][0]["known"]
    write_vit(official, seed=1)
    with pytest.raises(BadInput) as caught:
        add_model(store, "known", official, allow_unknown_digest=True)
    assert caught.value.code == "wrong_digest"
    assert store.find("known").tensors()  # the old ones are still there, whole


def test_a_disk_without_room_leaves_the_store_as_it_was(store, official):
    add_model(store, "tiny", official, allow_unknown_digest=True)
    before = contents(store.find("tiny").folder.parent), store.find("tiny").manifest
    write_vit(official, seed=1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))  # no file may grow further, as on a full disk
    try:
        with pytest.raises(Misconfigured) as caught:
            add_model(store, "tiny", official, allow_unknown_digest=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.code == "store_unwritable"
    assert (contents(store.find("tiny").folder.parent), store.find("tiny").manifest) == before


@pytest.mark.parametrize(("factor", "says"), [(float("nan"), "no numbers: cls_token"), (0.0, "all weights")])
def test_weights_that_can_give_no_embedding_are_refused(store, official, factor, says):
    before = add_model(store, "tiny", official, allow_unknown_digest=True).manifest
    torch.save({key: value * factor for key, value in torch.load(official).items()}, official)
    with pytest.raises(BadInput) as caught:
        add_model(store, "tiny", official, allow_unknown_digest=True)
    assert caught.value.code == "useless_weights"
    assert says in caught.value.detail
    assert store.find("tiny").manifest == before


def test_text_is_no_pickle(store, tmp_path):
    (tmp_path / "page.pth").write_text("<html>your proxy says no</html>", encoding="utf-8")
    with pytest.raises(BadInput) as caught:
        add_model(store, "tiny", tmp_path / "page.pth", allow_unknown_digest=True)
    assert caught.value.code == "not_a_checkpoint"


@pytest.mark.parametrize("name", ["../x", ".hidden", "Ä", "a/b", "x" * 65])
def test_a_name_that_is_no_folder_is_refused(store, official, name, tmp_path):
    with pytest.raises(BadInput) as caught:
        add_model(store, "tiny", official, allow_unknown_digest=True, under=name)
    assert caught.value.code == "bad_encoder_name"
    assert not (tmp_path / "installed").exists()


def test_a_shipped_name_is_not_given_to_another_encoder(store, official, tmp_path):
    write_manifest(tmp_path / "shipped", "other")
    with pytest.raises(Conflict) as caught:
        add_model(store, "tiny", official, allow_unknown_digest=True, under="other")
    assert caught.value.code == "name_taken"


def test_adding_again_mends_a_broken_manifest(store, official):
    added = add_model(store, "tiny", official, allow_unknown_digest=True)
    (added.folder / "manifest.toml").write_text("name = [", encoding="utf-8")
    with pytest.raises(Misconfigured):
        store.find("tiny")
    assert add_model(store, "tiny", official, allow_unknown_digest=True).manifest == added.manifest


def test_adding_again_begins_with_the_shipped_manifest(store, official):
    add_model(store, "tiny", official, allow_unknown_digest=True, fit="pad")
    assert add_model(store, "tiny", official, allow_unknown_digest=True).manifest.preprocess["fit"] == "crop"


def test_names_and_files_that_are_not_there(store, tmp_path):
    with pytest.raises(NotFound):
        add_model(store, "huge", tmp_path)
    with pytest.raises(BadInput) as caught:
        add_model(store, "tiny", tmp_path)
    assert caught.value.code == "files_missing"
    assert "tiny.pth" in caught.value.detail
    assert "fetch tiny" in caught.value.hint


def test_what_was_installed_can_be_removed_and_what_is_shipped_stays(store, official):
    add_model(store, "tiny", official, allow_unknown_digest=True)
    store.remove("tiny")
    assert not store.find("tiny").installed
    for name in ("tiny", "../shipped/tiny", "none"):
        with pytest.raises(NotFound):
            store.remove(name)


def test_positions_follow_the_picture_size(store, official):
    assert TINY["grid"] * TINY["patch"] == 518
    for size in (28, 56):
        add_model(store, "tiny", official, allow_unknown_digest=True, under=f"at-{size}", size=size)
        assert embed(open_encoder(f"at-{size}", store), [frame()]).shape == (1, 64)
    with pytest.raises(Misconfigured) as caught:
        add_model(store, "tiny", official, allow_unknown_digest=True, under="at-30", size=30)
    assert caught.value.code == "bad_preprocess"
    assert "at-30" not in store.names()
