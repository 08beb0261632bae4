"""``sonoseek models``: fetched, added, listed, verified, removed; and that nothing else ever asks a network."""

import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import tomllib
from pathlib import Path

import pytest
import torch
from loopback import Loopback, serving
from official import write_manifest, write_vit
from typer.testing import CliRunner

from app.cli import app
from app.encoders.adding import add_model
from app.encoders.fetching import fetch_model
from app.encoders.partial_file import alone
from app.encoders.registry import open_encoder
from app.encoders.weights import WeightStore, shipped_models
from app.errors import SonoSeekError

ROOT = Path(__file__).parent.parent


@pytest.fixture
def official(tmp_path):
    """The official file of the encoder ``tiny``."""
    path = tmp_path / "official" / "tiny.pth"
    path.parent.mkdir()
    write_vit(path)
    return path


@pytest.fixture
def models(tmp_path, monkeypatch):
    """SONOSEEK_MODELS, where a manifest of ``tiny`` lies."""
    folder = tmp_path / "models"
    write_manifest(folder, "tiny")
    monkeypatch.setenv("SONOSEEK_MODELS", str(folder))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return folder


@pytest.fixture
def server(official, models):
    """Serves the official file; the manifest names its address and digest."""
    with serving(Loopback(**{"tiny.pth": official.read_bytes()})) as told:
        change(models, 'url = "https://weights.example/tiny.pth"', f'url = "{told.url("tiny.pth")}"')
        yield told


def change(models, text, other, name="tiny"):
    path = models / name / "manifest.toml"
    content = path.read_text(encoding="utf-8")
    assert text in content
    path.write_text(content.replace(text, other), encoding="utf-8")


def know_digest(models, official):
    digest = hashlib.sha256(official.read_bytes()).hexdigest()
    change(models, "[[source]]", f'[[source]]\nbytes = {official.stat().st_size}\nsha256 = "{digest}"')


def run(*arguments):
    return CliRunner().invoke(app, ["models", *(str(argument) for argument in arguments)])


def done(*arguments):
    result = run(*arguments)
    assert result.exit_code == 0, f"{result.output}\n{result.exception!r}"
    return result.output


def refusal(*arguments):
    error = run(*arguments).exception
    assert isinstance(error, SonoSeekError), error
    return error


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_one_command_fetches_and_installs(server, models, official):
    know_digest(models, official)
    output = done("fetch", "tiny")
    assert output.index("licence: Apache-2.0") < output.index("tiny installed")
    assert f"in all: {official.stat().st_size / 1e6:.1f} MB" in output
    assert files(models) == ["tiny"]  # neither the download nor a lock is left
    assert "64 finite numbers" in done("verify", "tiny")
    (listed,) = [row for row in json.loads(done("list", "--json")) if row["name"] == "tiny"]
    assert listed["installed"]
    assert listed["size_mb"] == round((models / "tiny" / "tiny.safetensors").stat().st_size / 1e6, 1)
    assert "installed already" in done("fetch", "tiny")
    assert len(server.requests) == 1


def test_an_interrupted_fetch_goes_on(server, models, official):
    know_digest(models, official)
    server.cuts, server.statuses = [50_000], [200, 404]
    assert refusal("fetch", "tiny").code == "download_failed"
    assert ".tiny.download" in files(models)
    assert WeightStore(models).names().count("tiny") == 1
    done("fetch", "tiny")
    assert server.asked == [None, "bytes=50000-", "bytes=50000-"]
    assert files(models) == ["tiny"]


def test_an_unknown_digest_is_asked_for_before_the_download_and_recorded(server, models, official):
    error = refusal("fetch", "tiny")
    assert (error.code, error.exit_code) == ("unknown_digest", 3)
    assert "--allow-unknown-digest" in error.hint
    assert server.requests == []
    digest = hashlib.sha256(official.read_bytes()).hexdigest()
    assert digest in done("fetch", "tiny", "--allow-unknown-digest")
    stored = tomllib.loads((models / "tiny" / "manifest.toml").read_text(encoding="utf-8"))
    assert stored["installed_from"] == [{"file": "tiny.pth", "sha256": digest, "known": False}]


def test_carried_into_a_closed_network(server, models, official, tmp_path):
    stick = tmp_path / "a stick"
    output = done("fetch", "tiny", "--to", stick)
    assert (stick / "tiny.pth").read_bytes() == official.read_bytes()
    assert hashlib.sha256(official.read_bytes()).hexdigest() in output
    assert files(models / "tiny") == ["manifest.toml"]
    (line,) = re.findall(r"then: sonoseek models (add .*)", output)
    assert line == f"add tiny '{stick}' --allow-unknown-digest"
    done("fetch", "tiny", "--to", stick)
    assert (stick / "tiny.pth").read_bytes() == official.read_bytes()
    assert "tiny installed" in done("add", "tiny", stick, "--allow-unknown-digest")


def test_a_file_that_is_no_use_is_not_kept(server, models, official):
    server.files["tiny.pth"] = official.read_bytes()[:-1000]
    assert refusal("fetch", "tiny", "--allow-unknown-digest").code == "not_a_checkpoint"
    assert files(models) == ["tiny"]


def test_a_full_disk_costs_no_second_download(server, models, official, monkeypatch):
    know_digest(models, official)
    with monkeypatch.context() as disk:
        disk.setattr("safetensors.torch.save_file", full_disk)  # where the store writes; the download was there before
        assert refusal("fetch", "tiny").code == "store_unwritable"
    done("fetch", "tiny")
    assert len(server.requests) == 1


def full_disk(*_arguments, **_more):
    raise OSError(28, "No space left on device")


def test_two_commands_at_once(server, models):
    with alone(models / ".tiny.lock"):
        assert refusal("fetch", "tiny", "--allow-unknown-digest").code == "locked"
    assert server.requests == []
    done("fetch", "tiny", "--allow-unknown-digest")


def test_several_files_of_one_name(server, models, official, tmp_path):
    write_manifest(models, "two", source=("tiny.pth", "other.pth"))
    change(models, "https://weights.example", server.address, "two")
    server.files["other.pth"] = b"another file"
    done("fetch", "two", "--to", tmp_path / "stick")
    assert files(tmp_path / "stick") == ["other.pth", "tiny.pth"]


def test_what_cannot_be_fetched():
    assert refusal("fetch", "resnet-us", "--to", "nowhere").code == "nothing_to_fetch"
    assert refusal("fetch", "none").code == "unknown_encoder"


def test_the_certificates_of_the_settings_are_used(server, models, official, tmp_path, monkeypatch):
    know_digest(models, official)
    monkeypatch.setenv("SONOSEEK_DOWNLOAD__CA_FILE", str(tmp_path / "none.pem"))
    assert "none.pem" in refusal("fetch", "tiny").detail
    assert "other.pem" in refusal("fetch", "tiny", "--ca", tmp_path / "other.pem").detail
    assert server.requests == []


def test_other_names_fits_and_sizes(models, official):
    done("add", "tiny", official, "--allow-unknown-digest")
    done("add", "tiny", official, "--allow-unknown-digest", "--as", "tiny-pad", "--fit", "pad", "--size", "42")
    digests = {re.search("sha256:\\w+", done("verify", name))[0] for name in ("tiny", "tiny-pad")}
    assert len(digests) == 2
    assert run("add", "tiny", official, "--fit", "squash").exit_code == 2
    for name in ("../tiny", "Tiny", "", "a/b", ".tiny"):
        assert run("add", "tiny", official, "--as", name).exit_code == 2
        assert run("remove", name).exit_code == 2
    assert files(models) == ["tiny", "tiny-pad"]
    done("remove", "tiny-pad")
    assert files(models) == ["tiny"]
    assert refusal("remove", "tiny-pad").code == "not_installed"


def test_another_preparation_is_told_and_listed(models, official):
    assert "officially" not in done("add", "tiny", official, "--allow-unknown-digest", "--fit", "crop")
    assert "officially" not in done("list")
    told = done("add", "tiny", official, "--allow-unknown-digest", "--fit", "pad", "--size", "42")
    line = "tiny prepares pictures with fit pad (officially crop), size 42 (officially 28)"
    assert f"{line}: another encoder; --as NAME keeps the official one beside it" in told
    told = done("add", "tiny", official, "--allow-unknown-digest", "--as", "small", "--size", "14")
    assert "size 14 (officially 28): another encoder\n" in told
    done("add", "small", official, "--allow-unknown-digest", "--fit", "stretch")  # again, by its own manifest
    listed = done("list")
    assert line in listed
    assert "small prepares pictures with fit stretch (officially crop), size 14 (officially 28)" in listed
    rows = {row["name"]: row for row in json.loads(done("list", "--json"))}
    assert (rows["tiny"]["fit"], rows["tiny"]["size"]) == ("pad", 42)
    assert rows["tiny"]["official"] == {"fit": "crop", "size": 28}
    assert rows["dinov2-vits14"]["official"] == {}


def test_files_of_half_precision_are_told(models, official):
    assert "float16" not in done("add", "tiny", official, "--allow-unknown-digest")
    torch.save({key: value.half() for key, value in torch.load(official).items()}, official)
    assert "its file holds float16: stored as float32" in done("add", "tiny", official, "--allow-unknown-digest")


def test_a_broken_manifest_hides_no_other_encoder_and_can_be_mended(models, official):
    done("add", "tiny", official, "--allow-unknown-digest", "--as", "other")
    done("add", "tiny", official, "--allow-unknown-digest")
    for name in ("tiny", "resnet-us"):
        (models / name).mkdir(exist_ok=True)
        (models / name / "manifest.toml").write_text("name = [", encoding="utf-8")
    result = run("list")
    assert result.exit_code == 0
    assert "other " in result.stdout
    for name in ("tiny", "resnet-us"):
        assert f"the manifest of encoder '{name}' cannot be read" in result.stderr
        assert f"sonoseek models remove {name}" in result.stderr
    names = [row["name"] for row in json.loads(run("list", "--json").stdout)]
    assert "other" in names
    assert not {"tiny", "resnet-us"} & set(names)
    error = refusal("verify", "tiny")
    assert error.code == "bad_manifest"
    assert "sonoseek models remove tiny" in error.hint
    assert refusal("add", "tiny", official).code == "bad_manifest"  # no manifest of that name ships here
    done("remove", "tiny")
    done("remove", "resnet-us")
    assert "resnet-us " in done("list")


def test_a_size_that_nobody_knows_is_not_called_nothing(server, models):
    output = done("fetch", "tiny", "--allow-unknown-digest")
    assert "in all: size unknown" in output
    assert "0.0 MB" not in output


def test_a_folder_of_ones_own_needs_a_licence(models, tmp_path):
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "dinov2"}', encoding="utf-8")
    (folder / "model.safetensors").write_bytes(b"")
    assert refusal("add", "my-own", folder).code == "licence_missing"
    assert refusal("add", "my-own", folder, "--licence", "CC0").code != "licence_missing"
    assert files(models) == ["tiny"]


def test_the_authors_package_is_asked_for(models, official):
    done("add", "tiny", official, "--allow-unknown-digest")
    error = refusal("verify", "tiny", "--against-original", official)
    assert error.code in ("original_missing", "original_refuses")  # the second where the package is installed


def test_verify_notices_changed_and_missing_weights(models, official):
    assert refusal("verify", "tiny").code == "weights_missing"
    done("add", "tiny", official, "--allow-unknown-digest")
    path = models / "tiny" / "tiny.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert refusal("verify", "tiny").code == "weights_changed"


def test_verify_notices_an_encoder_without_a_usable_vector(models, official):
    tensors = torch.load(official)
    tensors["norm.weight"] *= 0
    tensors["norm.bias"] *= 0
    torch.save(tensors, official)
    done("add", "tiny", official, "--allow-unknown-digest")
    assert refusal("verify", "tiny").code == "no_embedding"


def test_the_list(models):
    rows = json.loads(done("list", "--json"))
    assert {"name", "installed", "dim", "params", "licence"} <= set(rows[0])
    by_name = {row["name"]: row for row in rows}
    assert by_name["resnet-us"]["installed"]
    assert by_name["resnet-us"]["precision"] == "fp32"
    large = by_name["dinov2-vitl14"]
    assert (large["installed"], large["dim"], large["size_mb"]) == (False, 1024, None)
    assert large["published_params"] > large["params"] > 300e6
    table = done("list")
    for name in by_name:
        assert f"{name} " in table


@pytest.fixture
def read_only(official):
    """SONOSEEK_MODELS as a read-only mount: a folder of somebody else, under a path that all may enter."""
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        folder = Path(place) / "models"
        write_manifest(folder, "tiny")
        store = WeightStore(folder)
        add_model(store, "tiny", official, allow_unknown_digest=True)
        for path in (folder / "tiny", folder):
            path.chmod(0o555)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)
        try:
            yield folder
        finally:
            os.seteuid(user)
            for path in (folder, folder / "tiny"):
                path.chmod(0o755)


def test_a_read_only_store_serves_and_says_that_it_cannot_be_changed(read_only):
    store = WeightStore(read_only)
    assert open_encoder("tiny", store).dim == 64
    with pytest.raises(SonoSeekError) as caught:
        store.remove("tiny")
    assert caught.value.code == "store_unwritable"
    with pytest.raises(SonoSeekError) as caught:
        store.install(store.find("tiny").manifest, store.find("tiny").tensors())
    assert caught.value.code == "store_unwritable"
    with pytest.raises(SonoSeekError) as caught:
        fetch_model(store, "tiny", read_only, allow_unknown_digest=True)
    assert caught.value.code == "folder_unwritable"
    assert "--to DIR" in caught.value.hint


@pytest.fixture
def listener():
    """A proxy that only counts who comes."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        came = []

        def count():
            while True:
                try:
                    came.append(server.accept())
                except OSError:
                    return

        thread = threading.Thread(target=count, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", came


def test_a_service_without_its_weights_ends_and_asks_no_network(tmp_path, listener):
    proxy, came = listener
    result = subprocess.run(
        [sys.executable, "-m", "app", "serve"],
        env={
            "PATH": "/usr/bin:/bin",
            "SONOSEEK_DATA": str(tmp_path / "data"),
            "SONOSEEK_SERVER__PORT": "0",
            "SONOSEEK_ENCODERS__NAMES": "dinov2-vits14",
            **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), proxy),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert result.returncode == 2
    assert "weights_missing" in result.stderr
    assert "sonoseek models fetch dinov2-vits14" in result.stderr
    assert came == []


def test_only_fetch_asks_a_network(models, official, listener, monkeypatch):
    proxy, came = listener
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    done("list")
    done("add", "tiny", official, "--allow-unknown-digest")
    done("verify", "tiny")
    assert came == []
    done("remove", "tiny")


def test_progress_is_a_line_in_a_while(server, models, official, monkeypatch):
    know_digest(models, official)
    monkeypatch.setattr("app.terminal.progress._LINE_EVERY_S", 0.0)
    output = done("fetch", "tiny")
    total = f"{official.stat().st_size / 1e6:.1f} MB"
    assert f"tiny.pth: {total} of {total}" in output


def million(count):
    return "" if count is None else f"{count / 1e6:.1f} M"


def test_the_documentation_is_true():
    text = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    store = WeightStore(shipped_models() / "none")
    assert len(store.names()) > 10
    for name in store.names():
        manifest = store.find(name).manifest
        sizes = f"{million(manifest.parameters)} | {million(manifest.published_parameters)}"
        row = f"| `{name}` | {manifest.dim} | {sizes} | {manifest.preprocess['size']} |"
        (line,) = [line for line in text.splitlines() if line.startswith(f"| `{name}` | ")]
        assert line.startswith(row), f"the row of {name} in docs/models.md should begin: {row}"
        assert f"| {manifest.licence} |" in line
        for source in manifest.source:
            size = "unknown" if source.bytes is None else f"{source.bytes:,}"
            digest = f"`{source.sha256}`" if source.sha256 else "unknown"
            line = f"| `{source.file}` | {size} | {digest} |"
            assert line in text, f"docs/models.md should hold: {line}"
            assert source.url in text
            assert f"`{source.file}`" in text
