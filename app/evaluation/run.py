"""One evaluation from the stored vectors to a report."""

from __future__ import annotations

import platform
import time
import typing
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from app.encoders.listing import list_models
from app.encoders.weights import WeightStore
from app.errors import BadInput
from app.evaluation.baselines import is_baseline, load_entrants, pictures_to_read
from app.evaluation.control_tables import control_section
from app.evaluation.controls import ControlFigures, Sources, shortcut_controls, steps_of
from app.evaluation.ground import Contestant, Ground
from app.evaluation.label_match import Cut
from app.evaluation.left_out import without_labels
from app.evaluation.natural import OpenEncoder, natural_vectors
from app.evaluation.one_query import Gallery, choose_example, figures_2_to_4, table_9, table_10
from app.evaluation.overlap import overlap_warnings, overlaps_of
from app.evaluation.paper_tables import PaperFigures, label_tables, paper_figures, query_table
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
from app.evaluation.protocol import KINDS, Protocol, Ranked, check_patients, evaluable_kinds
from app.evaluation.report import Report, Section
from app.evaluation.roles import PixelSet
from app.evaluation.served_tables import tables_1_to_3, tables_4_and_5
from app.evaluation.state import version_of
from app.evaluation.summary import summarise
from app.evaluation.tables import Table
from app.library.catalogue import Catalogue
from app.version import VERSION

_RESNET = "resnet-us"
_MEASURED_ON = "on this library, by the majority of the five nearest"
_PACKAGES = ("numpy", "scipy", "scikit-learn", "scikit-image", "opencv-python-headless", "sewar", "torch", "matplotlib")


class Progress(typing.Protocol):
    """Is told when a stage begins and how far it is."""

    def stage(self, title: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        """A stage of so many steps; gives what is told of steps as they are done."""
        ...

    def note(self, text: str) -> None:
        """What a user should know at once."""
        ...


class _Silent:
    @contextmanager
    def stage(self, _title: str, _total: int) -> Iterator[Callable[[int], None]]:
        yield lambda _done: None

    def note(self, _text: str) -> None:
        pass


@dataclass(frozen=True, slots=True)
class Options:
    """What to evaluate.

    ``encoder`` opens encoders that embed pictures anew: photographs, and those of the shortcut ``controls``, whose
    pictures come from there. ``pixel_set`` gives the pictures of Tables 6 to 8, which are else chosen by rule;
    ``precision`` is that of this machine, for the encoders as they are served. ``left_out`` are organs that no
    fine-organ figure shall be about; in ``partial`` finished encoders are kept, so that an interrupted run can go on.
    """

    encoders: Sequence[str]
    settings: Settings = field(default_factory=Settings)
    kinds: Sequence[str] = KINDS
    left_out: Sequence[str] = ()
    search_bench: Path | None = None
    pixels: bool = True
    pixel_set: Callable[[], PixelSet] | None = None
    precision: str = "fp32"
    example: str | None = None
    controls: Callable[[Ground], Sources] | None = None
    encoder: OpenEncoder | None = None
    partial: Path | None = None
    command: str = ""


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

    Raises NotFound ``unknown_library``; BadInput ``no_encoders``, ``no_labels``, ``no_patients``, ``too_few_images``,
    ``not_finite``, ``vectors_missing``; Conflict ``vectors_missing``, ``library_changed``; Misconfigured
    ``extra_missing`` where pixel metrics are wanted without their packages.
    """
    progress, clock, settings = progress or _Silent(), _Clock(), options.settings
    if not options.encoders:
        raise BadInput("no_encoders", "no encoder was named", hint="add --encoders resnet-us,pixels-32")
    with clock.time("load"):
        to_read = pictures_to_read(catalogue.library(library).size, options.encoders)
        with progress.stage("reading vectors and pictures", to_read) as advance:
            ground, contestants = load_entrants(catalogue, library, options.encoders, progress=advance)
        if options.left_out:
            ground = without_labels(ground, "organ", options.left_out)
    check_patients(ground, settings.protocol, settings.patients)
    kinds, skipped = evaluable_kinds(ground, options.kinds)
    rankings, figures = _judge(ground, contestants, kinds, skipped, options, progress, clock)
    overlaps = overlaps_of(catalogue, weights, ground, contestants)
    papers = [one[Protocol.PAPER][kind] for kind in kinds for one in rankings]
    cut = Cut.of(ground, settings.min_images)
    with clock.time("paper tables"):
        sections, galleries = _sections(catalogue, weights, ground, figures, papers, cut, options, progress)
    with clock.time("controls"):
        controls = _shortcuts(ground, contestants, kinds, options, progress)
    if controls:
        sections.insert(1, control_section(controls))
    return Report(
        ground=ground,
        figures=figures,
        paper=_paper(ground, papers, cut),
        rankings=rankings,
        overlaps=overlaps,
        summary=summarise(ground, figures, overlaps),
        warnings=overlap_warnings(overlaps),
        sections=sections,
        galleries=galleries,
        queries=query_table(ground, papers, least=settings.min_images),
        provenance=_provenance(ground, contestants, options),
        times=clock.seconds,
        controls=controls,
        natural=natural_vectors(contestants, options.encoder) if options.pixels else {},
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        contestants=contestants,
    )


def _shortcuts(
    ground: Ground, contestants: Sequence[Contestant], kinds: Sequence[str], options: Options, progress: Progress
) -> list[ControlFigures]:
    if options.controls is None or options.encoder is None:
        return []
    sources = options.controls(ground)
    encoders = {one.name: options.encoder(one.name) for one in contestants if not is_baseline(one)}
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


def _sections(
    catalogue: Catalogue,
    weights: WeightStore,
    ground: Ground,
    figures: PatientFigures,
    papers: Sequence[Ranked],
    cut: Cut,
    options: Options,
    progress: Progress,
) -> tuple[list[Section], list[Gallery]]:
    settings = options.settings
    example = choose_example(ground, papers, cut, wanted=options.example)
    one_query = [table_9(ground, papers, example, seed=settings.seed), table_10(ground, papers, example)]
    paper: list[Table] = [table for table in one_query if table is not None]
    paper += label_tables(ground, papers, least=settings.min_images, seed=settings.seed)
    if options.pixels:
        paper += _pixel_tables(catalogue, ground, papers, cut, options, progress)
        paper += tables_1_to_3(
            list_models(weights, options.precision), accuracy=_accuracy(figures), measured_on=_MEASURED_ON
        )
    if options.search_bench is not None:
        paper += tables_4_and_5(options.search_bench)
    sections = [
        Section(
            "The rigorous protocol" if settings.protocol is Protocol.PATIENT else "The paper's protocol, judged",
            "What a new patient would see, how sure that is, and what could make it look better than it is.",
            patient_tables(ground, figures),
        ),
        Section(
            "The paper's tables",
            "Every labelled image is a query against all others, those of its own patient too.",
            sorted(paper, key=_number),
        ),
    ]
    return sections, figures_2_to_4(ground, papers, example, seed=settings.seed)


def _pixel_tables(
    catalogue: Catalogue, ground: Ground, papers: Sequence[Ranked], cut: Cut, options: Options, progress: Progress
) -> list[Table]:
    from app.evaluation.pixel_tables import StoredInputs, measure_neighbours, table_14, table_17_21, tables_6_to_8
    from app.evaluation.roles import choose_pixel_set

    inputs, settings = StoredInputs(catalogue, ground), options.settings
    chosen = options.pixel_set() if options.pixel_set else choose_pixel_set(ground, papers, inputs, seed=settings.seed)
    first = [one for one in papers if one.kind == papers[0].kind]
    notes = () if inputs.why_not is None else (inputs.why_not,)
    with progress.stage("comparing pixels", len(first[0].queries)) as advance:
        measured = measure_neighbours(first, inputs, seed=settings.seed, progress=advance)
    tables = [table_17_21(measured, cut, inputs, notes=notes), *tables_6_to_8(chosen, why_no_dreamsim=inputs.why_not)]
    return [table_14(measured, cut, notes=notes), *tables] if cut.by_organ else tables


def _accuracy(figures: PatientFigures) -> float | None:
    """How often the majority of the five nearest names the organ, under resnet-us; None where it was not judged."""
    by_kind = [one.figures[figures.settings.protocol] for one in figures.contestants if one.name == _RESNET]
    return next((found["organ"].accuracy_of_5.value for found in by_kind if "organ" in found), None)


def _number(table: Table) -> tuple[int, str]:
    digits = "".join(character if character.isdigit() else " " for character in table.key).split()
    return (int(digits[0]) if digits else 99, table.key)


def _provenance(ground: Ground, contestants: Sequence[Contestant], options: Options) -> dict[str, str]:
    settings = options.settings
    facts = {
        "library": f"{ground.info.name}, version {ground.info.version}, {len(ground)} references",
        "protocol": f"{settings.protocol.value}, patients {settings.patients.value}",
        "settings": f"seed {settings.seed}, {settings.draws} bootstraps, {settings.flips} sign flips, "
        f"{settings.permutations} permutations, classes of at least {settings.min_images} images",
        "SonoSeek": VERSION,
        "Python": platform.python_version(),
    }
    facts |= {one.name: one.digest for one in contestants}
    facts |= {name: version for name in _PACKAGES if (version := version_of(name))}
    return facts | ({"command": options.command} if options.command else {})
