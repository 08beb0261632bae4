"""Settings, nested by room; read once in the switchboard from the environment or ``sonoseek.toml``."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

MIB = 1024 * 1024


def _split(value: object) -> object:
    """``a,b`` as a list, as one writes it in an environment variable."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _plain(names: tuple[str, ...]) -> tuple[str, ...]:
    """Hosts and origins as browsers send them: lower case, no slash at the end."""
    return tuple(name.rstrip("/").lower() for name in names)


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
Addresses = Annotated[Names, AfterValidator(_plain)]


class _Room(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ServerSettings(_Room):
    """The HTTP door."""

    host: str = Field("127.0.0.1", description="Address to listen on; beyond loopback a key is required.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on.")
    allowed_hosts: Addresses = Field(
        (),
        description="Names (comma separated) that a request's Host may carry beside localhost and the bound address.",
    )
    allowed_origins: Addresses = Field(
        (), description="Origins (comma separated, as https://viewer.example) of other web pages that may call the API."
    )
    max_body_bytes: int = Field(64 * MIB, gt=0, description="Largest request body in bytes.")
    body_grace_s: float = Field(10.0, gt=0, description="Seconds that any body may take before its rate counts.")
    body_min_rate: int = Field(64 * 1024, gt=0, description="Bytes per second that a body must reach after that.")
    permits: int = Field(32, gt=0, description="Requests with a body that may be in work at once; more get 429.")
    deadline_s: float = Field(60.0, gt=0, description="Seconds that one image may wait for the encoder.")


class SecuritySettings(_Room):
    """Keys and secrets; each is a file, never a value."""

    key_file: Path | None = Field(None, description="File with the bearer key that requests must carry.")
    open: bool = Field(False, description="Serve beyond loopback without any key; shows in /version.")
    hmac_key_file: Path | None = Field(
        None, description="File with the secret (at least 32 bytes) that turns patient ids into keys."
    )


class IndexSettings(_Room):
    """The search engine."""

    engine: Literal["exact", "kdtree", "kdtree-raw", "balltree"] = Field(
        "exact", description="Engine that answers searches: exact, kdtree, kdtree-raw or balltree; all are exact."
    )


class EncoderSettings(_Room):
    """Which encoders are loaded and how they run."""

    names: Names = Field(("resnet-us",), description="Encoders to load (comma separated); the first is the default.")
    dreamsim_scores: bool = Field(
        True, description="Load dreamsim-ensemble too where it is installed, for the DreamSim scores."
    )
    batch_size: int = Field(16, gt=0, description="Most images in one forward pass.")
    queue_size: int = Field(256, ge=32, description="Most images that may wait for the encoder, at least 32.")
    device: str = Field(
        "auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="auto (a GPU where there is one), cpu or cuda:N."
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="Of matrix products: fp32, bf16 or fp16; auto is fp32 on a CPU and bf16 on a GPU."
    )
    threads: int = Field(
        0, ge=0, description="Threads of one forward pass; 0: one for resnet-us, every core for the others."
    )


class DownloadSettings(_Room):
    """How ``sonoseek models fetch`` reaches the internet; nothing else does."""

    ca_file: Path | None = Field(
        None, description="PEM file with certificates to trust beside the system's, as that of a hospital's proxy."
    )


class ImageSettings(_Room):
    """Limits that hold before anything is decoded."""

    max_bytes: int = Field(1024 * MIB, gt=0, description="Largest image file in bytes; uploads have their own limit.")
    max_pixels: int = Field(64_000_000, gt=0, description="Most pixels of one frame.")
    max_frames: int = Field(2000, gt=0, description="Most frames of one image.")


class LibrarySettings(_Room):
    """Where references are kept."""

    database_url: str | None = Field(
        None, description="SQLAlchemy URL of the database; default is sonoseek.db under the data directory."
    )


class LogSettings(_Room):
    """What is written to standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severe line to write.")
    format: Literal["console", "json"] = Field("console", description="Lines for people or for machines.")


class Settings(BaseSettings):
    """Everything that can be set. Environment variables win over ``sonoseek.toml``."""

    model_config = SettingsConfigDict(
        env_prefix="SONOSEEK_",
        env_nested_delimiter="__",
        toml_file="sonoseek.toml",
        extra="forbid",
        frozen=True,
    )

    data: Path = Field(Path("data"), description="Directory of the database and the stored frames.")
    models: Path | None = Field(
        None, description="Directory of installed encoder weights; default is models/ under the data directory."
    )
    server: ServerSettings = ServerSettings()
    security: SecuritySettings = SecuritySettings()
    index: IndexSettings = IndexSettings()
    encoders: EncoderSettings = EncoderSettings()
    download: DownloadSettings = DownloadSettings()
    images: ImageSettings = ImageSettings()
    library: LibrarySettings = LibrarySettings()
    log: LogSettings = LogSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then the environment, then sonoseek.toml."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    @property
    def models_dir(self) -> Path:
        """Where installed weights live."""
        return self.models or self.data / "models"

    @property
    def database_url(self) -> str:
        """The SQLAlchemy URL in force."""
        return self.library.database_url or f"sqlite:///{(self.data / 'sonoseek.db').absolute()}"
