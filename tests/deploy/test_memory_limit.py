"""The memory that a container is limited to counts before the service listens."""

import pytest

from app import serving
from app.config import ServerSettings, Settings
from app.errors import Misconfigured


@pytest.mark.parametrize(("limit", "fits"), [("2147483648\n", False), ("8589934592\n", True), ("max\n", True)])
def test_bodies_must_fit_into_half_of_a_containers_memory(tmp_path, monkeypatch, limit, fits):
    (tmp_path / "memory.max").write_text(limit)
    monkeypatch.setattr(serving, "_CGROUP_LIMITS", (tmp_path / "none", tmp_path / "memory.max"))
    monkeypatch.setattr(serving.os, "sysconf", lambda _name: 2**17)  # a machine of 16 GiB
    settings = Settings(server=ServerSettings(permits=32, max_body_bytes=64 * 2**20))
    if fits:
        serving._refuse_too_many_permits(settings)
        return
    with pytest.raises(Misconfigured) as refusal:
        serving._refuse_too_many_permits(settings)
    assert refusal.value.code == "too_many_permits"
