"""Which encoders a service loads, and loading them."""

from collections.abc import Callable, Sequence

from app.config import EncoderSettings
from app.encoders.base import Encoder
from app.encoders.batcher import Batcher
from app.encoders.registry import open_encoder, served_precision
from app.encoders.weights import WeightStore
from app.errors import Misconfigured, NotFound
from app.logs import get_logger
from app.search.dreamsim import ENCODER as DREAMSIM

log = get_logger("loading")


def open_batcher(settings: EncoderSettings, weights: WeightStore, on_lost: Callable[[], None]) -> Batcher:
    """The worker with every encoder that the settings name; raises Misconfigured."""
    from app.encoders.device import choose_placement, computes  # torch is imported here, not when a command starts

    if not settings.names:
        raise Misconfigured("no_encoder", "no encoder is named", hint="set SONOSEEK_ENCODERS__NAMES=resnet-us")
    placement = choose_placement(settings.device, settings.precision, settings.threads)
    try:
        encoders = [open_encoder(name, weights, placement) for name in _names(settings, weights)]
    except NotFound as error:
        raise Misconfigured(error.code, error.detail, hint=f"{error.hint}; see SONOSEEK_ENCODERS__NAMES") from None
    _refuse_twins(encoders)
    if not computes(placement):
        log.warning("slow precision", precision=placement.precision, hint="this processor has no instructions for it")
    log.info("encoders", names=[encoder.name for encoder in encoders], device=str(placement.device))
    return Batcher(encoders, batch_size=settings.batch_size, queue_size=settings.queue_size, on_lost=on_lost)


def served_digests(settings: EncoderSettings, weights: WeightStore) -> frozenset[str]:
    """The digests of the encoders that a service with these settings loads, without loading them."""
    from app.encoders.device import choose_placement

    placement = choose_placement(settings.device, settings.precision, settings.threads)
    known = weights.names()
    found = (weights.find(name).manifest for name in _names(settings, weights) if name in known)
    return frozenset(manifest.digest(served_precision(manifest, placement.precision)) for manifest in found)


def _refuse_twins(encoders: Sequence[Encoder]) -> None:
    """References are stored with one vector per digest: two encoders of one digest could enrol nothing."""
    by_digest: dict[str, str] = {}
    for encoder in encoders:
        if encoder.digest in by_digest:
            raise Misconfigured(
                "same_encoder_twice",
                "two of the named encoders have the same weights and the same preprocessing",
                hint=f"keep one of {by_digest[encoder.digest]} and {encoder.name}; see SONOSEEK_ENCODERS__NAMES",
            )
        by_digest[encoder.digest] = encoder.name


def _names(settings: EncoderSettings, weights: WeightStore) -> list[str]:
    """The named encoders, and behind them the one that DreamSim scores need, where it is installed."""
    names = list(settings.names)
    if (
        settings.dreamsim_scores
        and DREAMSIM not in names
        and DREAMSIM in weights.names()
        and weights.find(DREAMSIM).installed
    ):
        names.append(DREAMSIM)
    return names
