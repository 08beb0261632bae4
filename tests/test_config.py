"""Settings: where they come from, and that each is described and documented."""

from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from app.config import Settings

DOCUMENT = Path(__file__).parent.parent / "docs" / "configuration.md"


def described(model: type[BaseModel], prefix: str):
    for name, field in model.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from described(annotation, f"{prefix}{name.upper()}__")
        else:
            yield f"{prefix}{name.upper()}", field


def test_every_setting_has_one_line_and_stands_in_the_documentation():
    text = DOCUMENT.read_text(encoding="utf-8")
    names = []
    for name, field in described(Settings, "SONOSEEK_"):
        names.append(name)
        assert field.description, f"{name} has no description"
        assert "\n" not in field.description
        assert f"`{name}`" in text, f"{name} is not in docs/configuration.md"
        assert field.description in text, f"the description of {name} in docs/configuration.md is another"
    assert len(names) > 20


def test_the_environment_wins_over_the_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sonoseek.toml").write_text('data = "here"\n[server]\nport = 9000\nhost = "::1"\n', encoding="utf-8")
    monkeypatch.setenv("SONOSEEK_SERVER__PORT", "9001")
    monkeypatch.setenv("SONOSEEK_ENCODERS__NAMES", "resnet-us, dino-vits16")
    settings = Settings()
    assert (settings.server.port, settings.server.host, settings.data) == (9001, "::1", Path("here"))
    assert settings.encoders.names == ("resnet-us", "dino-vits16")
    assert settings.models_dir == Path("here/models")


@pytest.mark.parametrize(
    ("name", "value"),
    [("SONOSEEK_SERVER__PORT", "no"), ("SONOSEEK_INDEX__ENGINE", "hnsw"), ("SONOSEEK_SERVER__PROT", "1")],
)
def test_a_wrong_setting_is_refused(tmp_path, monkeypatch, name, value):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError):
        Settings()
