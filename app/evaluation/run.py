"""One evaluation from the stored vectors to a report."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

from app.encoders.base import Encoder
from app.encoders.weights import WeightStore
from app.errors import BadInput, Conflict
from app.evaluation.baselines import is_baseline, load_entrants, pictures_to_read
from app.evaluation.control_tables import control_section
from app.evaluation.controls import ControlFigures, Sources, shortcut_controls, steps_of
from app.evaluation.ground import Contestant, Ground
from app.evaluation.label_match import Cut
from app.evaluation.left_out import without_labels
from app.evaluation.names import check_names
from app.evaluation.natural import natural_vectors
from app.evaluation.one_query import row_of
from app.evaluation.options import Options, Progress, Silence
from app.evaluation.overlap import Overlap, overlap_warnings, overlaps_of
from app.evaluation.paper_section import paper_part
from app.evaluation.paper_tables import PaperFigures, paper_figures, query_table
from app.evaluation.partial import Partial
from app.evaluation.patient_report import (
    ContestantReport,
    PatientFigures,
    Rankings,
    Settings,
    compare,
    contestant_report,
    queries_to_ask,
    rank_contestant,
)
from app.evaluation.patient_tables import patient_tables
from app.evaluation.protocol import (
    Protocol,
    Ranked,
    check_patients,
    check_vectors,
    evaluable_kinds,
    patients_used,
    with_patients,
)
from app.evaluation.report import Report, Section
from app.evaluation.state import version_of
from app.evaluation.summary import summarise
from app.library.catalogue import Catalogue
from app.version import VERSION

_PACKAGES = ("numpy", "scipy", "scikit-learn", "scikit-image", "opencv-python-headless", "sewar", "torch", "matplotlib")


class _Clock:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        begin = time.perf_counter()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - begin


def evaluate(
    catalogue: Catalogue, weights: WeightStore, library: str, options: Options, progress: Progress | None = None
) -> Report:
    """Judge encoders over a library.

    What cannot be done is told before the work: NotFound ``unknown_library``, ``unknown_encoder``; BadInput
    ``no_encoders``, ``no_labels``, ``no_patients``, ``too_few_images``, ``not_finite``, ``vectors_missing``,
    ``unknown_example``; Conflict ``vectors_missing``, ``library_changed``, ``encoder_changed``; Misconfigured
    ``extra_missing`` where pixel metrics are wanted without their packages, ``weights_missing`` where controls are;
    and what their sources raise.
    """
    progress, clock, settings = progress or Silence(), _Clock(), options.settings
    if not options.encoders:
        raise BadInput("no_encoders", "no encoder was named", hint="add --encoders resnet-us,pixels-32")
    check_names(catalogue, weights, library, options.encoders)
    with clock.time("load"):
        to_read = pictures_to_read(catalogue.library(library).size, options.encoders)
        with progress.stage("reading vectors and pictures", to_read) as advance:
            ground, contestants = load_entrants(catalogue, library, options.encoders, progress=advance)
        if options.left_out:
            ground = without_labels(ground, "organ", options.left_out)
    kinds, skipped = _check(ground, contestants, options)
    overlaps = overlaps_of(catalogue, weights, ground, contestants)
    redrawn = _redrawn(ground, contestants, overlaps, options)
    rankings, figures = _judge(ground, contestants, kinds, skipped, options, progress, clock)
    papers = [one[Protocol.PAPER][kind] for kind in kinds for one in rankings]
    cut = Cut.of(ground, settings.min_images)
    with clock.time("paper tables"):
        paper = paper_part(catalogue, weights, ground, figures, papers, options, progress)
    with clock.time("controls"):
        controls = [] if redrawn is None else _shortcuts(ground, contestants, kinds, redrawn, options, progress)
    judged = [_rigorous(ground, figures), *([control_section(controls)] if controls else [])]
    return Report(
        ground=ground,
        figures=figures,
        paper=_paper(ground, papers, cut),
        rankings=rankings,
        overlaps=overlaps,
        summary=summarise(ground, figures, overlaps),
        warnings=overlap_warnings(overlaps),
        sections=[*(_about_patients(ground, settings, section) for section in judged), paper.section],
        galleries=paper.galleries,
        queries=query_table(ground, papers, least=settings.min_images),
        provenance=_provenance(ground, contestants, options),
        times=clock.seconds,
        controls=controls,
        natural=natural_vectors(contestants, options.encoder) if options.pixels else {},
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        contestants=contestants,
    )


def _check(ground: Ground, contestants: Sequence[Contestant], options: Options) -> tuple[list[str], dict[str, str]]:
    """The kinds that can be judged, and why the others cannot; raises where nothing can be."""
    check_patients(ground, options.settings.protocol, options.settings.patients)
    for one in contestants:
        check_vectors(one)
    if options.example is not None:
        row_of(ground, options.example)
    return evaluable_kinds(ground, options.kinds)


def _redrawn(
    ground: Ground, contestants: Sequence[Contestant], overlaps: Sequence[Overlap], options: Options
) -> tuple[Sources, dict[str, Encoder]] | None:
    """What shortcut controls need: pictures, and the encoders that embed them anew.

    Raises Conflict ``encoder_changed`` where an encoder is not the one that made the stored vectors.
    """
    if options.controls is None or options.encoder is None:
        return None
    encoders = {}
    for one, overlap in zip(contestants, overlaps, strict=True):
        if is_baseline(one):
            continue
        encoder = encoders[one.name] = options.encoder(overlap.encoder)
        if encoder.digest != one.digest:
            raise Conflict(
                "encoder_changed",
                f"{overlap.encoder} as it is installed is {encoder.digest}, and the vectors were made by {one.digest}",
                hint=f"run: sonoseek reembed {ground.info.name} --encoder {overlap.encoder}, or leave --controls out",
            )
    return options.controls(ground), encoders


def _shortcuts(
    ground: Ground,
    contestants: Sequence[Contestant],
    kinds: Sequence[str],
    redrawn: tuple[Sources, Mapping[str, Encoder]],
    options: Options,
    progress: Progress,
) -> list[ControlFigures]:
    sources, encoders = redrawn
    with progress.stage("shortcut controls", steps_of(ground, sources)) as advance:
        return shortcut_controls(
            ground,
            contestants[0],
            encoders,
            kinds,
            sources,
            options.settings,
            partial=options.partial,
            progress=advance,
        )


def _judge(
    ground: Ground,
    contestants: Sequence[Contestant],
    kinds: Sequence[str],
    skipped: dict[str, str],
    options: Options,
    progress: Progress,
    clock: _Clock,
) -> tuple[list[Rankings], PatientFigures]:
    """Rankings and figures of each contestant, those that an interrupted run had finished from there."""
    settings, partial = options.settings, Partial(options.partial, ground, kinds, options.settings)
    rankings: list[Rankings] = []
    reports: list[ContestantReport] = []
    for one in contestants:
        found = partial.load(one)
        if found is None:
            found = _judge_one(ground, one, kinds, settings, progress, clock)
            partial.save(one, *found)
        else:
            progress.note(f"{one.name}: ranked and judged by the run that was interrupted")
        rankings.append(found[0])
        reports.append(found[1])
    with clock.time("judge"), progress.stage("differences", 1) as advance:
        differences = compare(ground, contestants, rankings, settings)
        advance(1)
    return rankings, PatientFigures(settings, tuple(kinds), skipped, tuple(reports), tuple(differences))


def _judge_one(
    ground: Ground, one: Contestant, kinds: Sequence[str], settings: Settings, progress: Progress, clock: _Clock
) -> tuple[Rankings, ContestantReport]:
    asked = queries_to_ask(ground, kinds, settings)
    with clock.time("rank"), progress.stage(f"ranking, {one.name}", asked) as advance:
        ranked = rank_contestant(ground, one, kinds, settings, progress=advance)
    with clock.time("judge"), progress.stage(f"intervals and checks, {one.name}", 1) as advance:
        report = contestant_report(ground, one, ranked, settings)
        advance(1)
    return ranked, report


def _paper(ground: Ground, papers: Sequence[Ranked], cut: Cut) -> dict[str, dict[str, PaperFigures]]:
    found: dict[str, dict[str, PaperFigures]] = {}
    for ranked in papers:
        found.setdefault(ranked.contestant, {})[ranked.kind] = paper_figures(ground, ranked, cut)
    return found


def _rigorous(ground: Ground, figures: PatientFigures) -> Section:
    return Section(
        "The rigorous protocol" if figures.settings.protocol is Protocol.PATIENT else "The paper's protocol, judged",
        "What a new patient would see, how sure that is, and what could make it look better than it is."
        if figures.settings.protocol is Protocol.PATIENT
        else "What a query finds with its own patient in the gallery, which a new patient would not see.",
        patient_tables(ground, figures),
    )


def _about_patients(ground: Ground, settings: Settings, section: Section) -> Section:
    tables = [
        replace(table, caption=with_patients(ground, settings.protocol, table.caption)) for table in section.tables
    ]
    return replace(section, tables=tables)


def _provenance(ground: Ground, contestants: Sequence[Contestant], options: Options) -> dict[str, str]:
    settings = options.settings
    facts = {
        "library": f"{ground.info.name}, version {ground.info.version}, {len(ground)} references",
        "protocol": f"{settings.protocol.value}, patients {patients_used(ground, settings.patients).value}",
        "settings": f"seed {settings.seed}, {settings.draws} bootstraps, {settings.flips} sign flips, "
        f"{settings.permutations} permutations, classes of at least {settings.min_images} images",
        "SonoSeek": VERSION,
        "Python": platform.python_version(),
    }
    facts |= {one.name: one.digest for one in contestants}
    facts |= {name: version for name in _PACKAGES if (version := version_of(name))}
    return facts | ({"command": options.command} if options.command else {})
