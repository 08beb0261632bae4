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
    writes: bool = Field(
        True, description="Whether libraries may be changed over HTTP; shows in /version, and the page follows it."
    )


class SecuritySettings(_Room):
    """Keys and secrets; each is a file, never a value."""

    key_file: Path | None = Field(None, description="File with the bearer key that requests must carry.")
    open: bool = Field(False, description="Serve beyond loopback without any key; shows in /version.")
    hmac_key_file: Path | None = Field(
        None, description="File with the secret (at least 32 bytes) that turns patient ids into keys."
    )


class IndexSettings(_Room):
    """The search engine."""

    engine: Literal["exact", "kdtree", "kdtree-raw", "balltree", "qdrant"] = Field(
        "exact",
        description="Engine that answers searches: exact, kdtree, kdtree-raw and balltree are exact and in this "
        "process; qdrant is a server, see SONOSEEK_QDRANT__URL.",
    )


class QdrantSettings(_Room):
    """The server or cluster behind the engine qdrant; nothing else reaches for it. docs/scale.md says how to choose."""

    url: str | None = Field(
        None, description="Address of Qdrant, as https://qdrant.example:6333, or :memory: for a trial."
    )
    api_key_file: Path | None = Field(None, description="File with the key that Qdrant wants.")
    grpc: bool = Field(True, description="Speak gRPC where Qdrant can, which is faster; false: HTTP only.")
    grpc_port: int = Field(6334, ge=1, le=65535, description="Port of Qdrant's gRPC interface.")
    timeout_s: int = Field(5, ge=1, description="Seconds that one question may take.")
    write_timeout_s: int = Field(60, ge=1, description="Seconds that one batch of changes may take.")
    attempts: int = Field(4, ge=1, description="How often a call is tried before it has failed.")
    retry_s: float = Field(10.0, gt=0, description="Seconds after which a call is not tried again.")
    batch_size: int = Field(256, ge=1, le=10_000, description="References sent at once.")
    shards: int | None = Field(
        None, ge=1, description="Shards of a new collection; default is Qdrant's own, one for each node."
    )
    replicas: int = Field(
        1, ge=1, description="Copies of every shard of a new collection; 2 survive the loss of a node."
    )
    write_consistency: int = Field(
        1, ge=1, description="Copies that must have taken a change before it counts, at most as many as there are."
    )
    read_consistency: Literal["one", "majority", "quorum", "all"] = Field(
        "one", description="How many copies a search asks: one, or majority, quorum or all as Qdrant means them."
    )
    quantisation: Literal["none", "int8"] = Field(
        "none", description="int8 keeps a quarter-size copy of the vectors in memory for the search; none keeps none."
    )
    quantile: float = Field(
        0.99, ge=0.5, le=1.0, description="Share of the values that int8 resolves; the others are cut off."
    )
    oversampling: float = Field(
        2.0, ge=1.0, description="How many times k are taken by int8 and then measured by whole vectors."
    )
    overfetch: float = Field(2.0, ge=1.0, description="How many times k are fetched, to be measured here in float64.")
    vectors_on_disk: bool = Field(False, description="Leave whole vectors on disk, for instance beside int8.")
    payload_on_disk: bool = Field(True, description="Leave labels on disk; their index stays in memory.")
    graph_on_disk: bool = Field(False, description="Leave the HNSW graph on disk.")
    hnsw_m: int = Field(16, ge=4, le=256, description="Edges of each node of the HNSW graph.")
    hnsw_ef_construct: int = Field(
        200, ge=4, description="Candidates looked at for each edge while the graph is built."
    )
    hnsw_ef: int = Field(256, ge=1, description="Candidates looked at while searching; more find more and take longer.")
    exact: bool = Field(False, description="Measure every vector in every search instead of following the graph.")
    exact_below: int = Field(
        100_000, ge=0, description="The same where no more than so many references can be seen by a search."
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
    qdrant: QdrantSettings = QdrantSettings()
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
