"""The network of ``resnet-us`` as it is before training: what its architecture alone tells apart."""

from __future__ import annotations

import hashlib
import json

import torch

from app.encoders.preprocess import Preprocess
from app.encoders.resnet import ResNetEncoder, ResNetUS

NAME = "untrained-resnet"


def untrained_resnet(preprocess: Preprocess, *, seed: int = 0) -> ResNetEncoder:
    """The network with seeded first weights as torch draws them (He et al. 2015), prepared as ``resnet-us`` is."""
    facts = {"kind": NAME, "seed": seed, "preprocess": preprocess.model_dump()}
    digest = "sha256:" + hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    with torch.random.fork_rng(devices=[]):  # others draw from the same generator
        torch.manual_seed(seed)
        return ResNetEncoder(name=NAME, weights=ResNetUS().state_dict(), preprocess=preprocess, digest=digest)
