"""The paper's tables and figures of a report, in the paper's order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.encoders.listing import list_models
from app.encoders.weights import WeightStore
from app.evaluation.ground import Ground
from app.evaluation.label_match import Cut
from app.evaluation.one_query import Gallery, choose_example, figures_2_to_4, table_9, table_10
from app.evaluation.options import Options, Progress
from app.evaluation.paper_tables import label_tables
from app.evaluation.patient_report import PatientFigures
from app.evaluation.protocol import Ranked
from app.evaluation.report import Section
from app.evaluation.roles import PixelSet
from app.evaluation.served_tables import tables_1_to_3
from app.evaluation.tables import Table
from app.library.catalogue import Catalogue

_RESNET = "resnet-us"
_MEASURED_ON = "on this library, by the majority of the five nearest"


@dataclass(frozen=True, slots=True)
class PaperPart:
    """The section with its tables, and what its figures show; ``pixel_set`` is None where no pixels were compared."""

    section: Section
    galleries: Sequence[Gallery]
    pixel_set: PixelSet | None


def paper_part(
    catalogue: Catalogue,
    weights: WeightStore,
    ground: Ground,
    figures: PatientFigures,
    papers: Sequence[Ranked],
    options: Options,
    progress: Progress,
) -> PaperPart:
    """All tables of the paper that a library has something for; ``papers`` are the rankings of its protocol.

    Raises BadInput ``unknown_example``; Conflict ``library_changed``; Misconfigured ``extra_missing`` where pixel
    metrics are wanted without their packages.
    """
    settings = options.settings
    cut = Cut.of(ground, settings.min_images)
    example = choose_example(ground, papers, cut, wanted=options.example)
    one_query = [table_9(ground, papers, example, seed=settings.seed), table_10(ground, papers, example)]
    tables = [table for table in one_query if table is not None]
    tables += [*label_tables(ground, papers, least=settings.min_images, seed=settings.seed), *options.times]
    pixel_set = None
    if options.pixels:
        tables += _served_tables(weights, figures, options)
        pixel_set, pixel_tables = _pixel_tables(catalogue, ground, papers, cut, options, progress)
        tables += pixel_tables
    section = Section(
        "The paper's tables",
        "Every labelled image is a query against all others, those of its own patient too.",
        sorted(tables, key=_number),
    )
    return PaperPart(section, figures_2_to_4(ground, papers, example, seed=settings.seed), pixel_set)


def _served_tables(weights: WeightStore, figures: PatientFigures, options: Options) -> list[Table]:
    models = list_models(weights, options.precision)
    return tables_1_to_3(models, accuracy=_accuracy(figures), measured_on=_MEASURED_ON)


def _pixel_tables(
    catalogue: Catalogue, ground: Ground, papers: Sequence[Ranked], cut: Cut, options: Options, progress: Progress
) -> tuple[PixelSet, list[Table]]:
    from app.evaluation.pixel_tables import StoredInputs, measure_neighbours, table_14, table_17_21, tables_6_to_8
    from app.evaluation.roles import choose_pixel_set

    inputs, seed = StoredInputs(catalogue, ground), options.settings.seed
    chosen = options.pixel_set or choose_pixel_set(ground, papers, inputs, seed=seed)
    first = [one for one in papers if one.kind == papers[0].kind]
    notes = () if inputs.why_not is None else (inputs.why_not,)
    with progress.stage("comparing pixels", len(first[0].queries)) as advance:
        measured = measure_neighbours(first, inputs, seed=seed, progress=advance)
    tables = [table_17_21(measured, cut, inputs, notes=notes), *tables_6_to_8(chosen, why_no_dreamsim=inputs.why_not)]
    return chosen, [table_14(measured, cut, notes=notes), *tables] if cut.by_organ else tables


def _accuracy(figures: PatientFigures) -> float | None:
    """How often the majority of the five nearest names the organ, under resnet-us; None where it was not judged."""
    by_kind = [one.figures[figures.settings.protocol] for one in figures.contestants if one.name == _RESNET]
    return next((found["organ"].accuracy_of_5.value for found in by_kind if "organ" in found), None)


def _number(table: Table) -> tuple[int, str]:
    digits = "".join(character if character.isdigit() else " " for character in table.key).split()
    return (int(digits[0]) if digits else 99, table.key)
