"""The authors' packages as encoders of the service, and the comparison that a user can ask for."""

import numpy as np
import pytest

from app.encoders.adding import add_model
from app.encoders.base import embed
from app.encoders.original import verify_against_original
from app.encoders.registry import open_encoder
from app.errors import BadInput
from reference.bench import Bench
from reference.official_files import write_backbone, write_dreamsim, write_sam2


@pytest.mark.parametrize(
    ("name", "write", "changes"),
    [
        ("dinov2-vits14", write_backbone, {}),
        ("sam2-hiera-tiny", write_sam2, {"size": 256}),
        ("dreamsim-clip-vitb32", write_dreamsim, {}),
    ],
)
def test_official_files_serve_through_the_authors_package(name, write, changes, frames, scratch):
    bench = Bench(scratch, frames[:2], name, write)
    ours = bench.add(**changes)
    theirs = bench.add(under="theirs", original=True, **changes)
    assert theirs.manifest.digest("fp32") != ours.manifest.digest("fp32")  # never mixed in one library
    encoder = open_encoder("theirs", bench.store)
    assert encoder.digest == theirs.manifest.digest("fp32")
    vectors = embed(encoder, bench.frames)
    np.testing.assert_allclose(vectors, bench.original(ours.manifest), rtol=1e-4, atol=1e-5)
    assert verify_against_original(bench.store, name, bench.official, bench.frames).holds


def test_files_that_the_package_refuses_are_not_installed(frames, scratch):
    bench = Bench(scratch, frames[:2], "dinov2-vits14", write_backbone, depth=2)
    path = next(bench.official.iterdir())
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(BadInput):
        add_model(bench.store, "dinov2-vits14", path, allow_unknown_digest=True, original=True)
    assert not bench.store.find("dinov2-vits14").installed
