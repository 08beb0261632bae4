"""Which encoder searches: the one that is named, the default, or the one that the library adopted for a label kind."""

from typing import NamedTuple

from app.encoders.base import Encoder
from app.encoders.batcher import Batcher
from app.errors import BadInput, Conflict, NotFound
from app.library.adoption import Adoption
from app.library.catalogue import Catalogue
from app.search.answer import Wish


class Choice(NamedTuple):
    """A loaded encoder, and what it was chosen by where that was a target."""

    encoder: Encoder
    adoption: Adoption | None


def choose_encoder(catalogue: Catalogue, batcher: Batcher, wish: Wish, library: str | None) -> Choice:
    """The encoder for a wish in a library, None for the only one.

    Raises NotFound ``unknown_encoder`` or ``unknown_library``, Conflict ``nothing_adopted`` or ``adopted_not_loaded``.
    """
    if wish.target is None:
        return Choice(batcher.encoder(wish.encoder), None)
    name = library if library is not None else only_library(catalogue.names())
    adoption = catalogue.adoptions.all(name).get(wish.target)
    if adoption is None:
        raise Conflict(
            "nothing_adopted",
            f"the library {name!r} has adopted no encoder for {wish.target}",
            hint=f"run: sonoseek evaluate {name} --encoders NAME,NAME --adopt; or leave target out",
        )
    for encoder in batcher.encoders.values():
        if encoder.digest == adoption.digest:
            return Choice(encoder, adoption)
    raise _not_loaded(batcher, name, adoption)


def only_library(names: list[str]) -> str:
    """The name of the only library; raises NotFound ``no_library`` or BadInput ``library_needed``."""
    if not names:
        raise NotFound("no_library", "there is no library yet", hint="enrol one: sonoseek enrol NAME MANIFEST")
    if len(names) > 1:
        raise BadInput(
            "library_needed",
            "there are several libraries and none was named",
            hint=f"add library=NAME; libraries are: {', '.join(names)}",
        )
    return names[0]


def _not_loaded(batcher: Batcher, library: str, adoption: Adoption) -> Conflict:
    encoder = adoption.encoder
    if encoder in batcher.encoders:
        return Conflict(
            "adopted_not_loaded",
            f"the library {library!r} adopted {encoder} {adoption.digest} for {adoption.kind}; the one that is loaded "
            f"is {batcher.encoders[encoder].digest}: other weights, preprocessing or precision",
            hint="set SONOSEEK_ENCODERS__PRECISION and the weights back to what was judged, or judge again: "
            f"sonoseek evaluate {library} --encoders {encoder} --adopt",
        )
    names = ",".join([*batcher.encoders, encoder])
    return Conflict(
        "adopted_not_loaded",
        f"the library {library!r} adopted {encoder} for {adoption.kind}, which is not loaded",
        hint=f"set SONOSEEK_ENCODERS__NAMES={names} and start the service again",
    )
