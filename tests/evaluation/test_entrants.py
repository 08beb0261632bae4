"""Which encoders are judged where none are named."""

import numpy as np
from harness import enrol_phantoms

from app.evaluation.ground import load_contestants
from app.evaluation.names import complete_encoders


def test_an_encoder_with_two_digests_is_named_by_them(service, phantoms):
    enrol_phantoms(service, phantoms)
    catalogue = service.catalogue
    assert complete_encoders(catalogue, "demo") == ["resnet-us"]
    keys = sorted(catalogue.all_ids())
    catalogue.embeddings.add("demo", "resnet-us", "sha256:former", keys, np.ones((len(keys), 4), np.float32))
    catalogue.embeddings.add("demo", "half", "sha256:half", keys[:9], np.ones((9, 4), np.float32))
    names = complete_encoders(catalogue, "demo")
    assert names == sorted([service.batcher.default.digest, "sha256:former"])
    _, contestants = load_contestants(catalogue, "demo", names)
    assert [one.digest for one in contestants] == names
