"""Annotates photos with a trained model.

    python -m experiments.annotate photos

The flags are here; `annotation/batch.py` does the work.
"""

import csv
import dataclasses
import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.annotation import exchange, gallery, gallery_files, sidecars
from experiments.annotation.batch import (
    Answer,
    Batch,
    Choice,
    Job,
    jobs_of,
    jobs_of_table,
    report,
    report_left_out,
)
from experiments.annotation.shipped import say_shipped
from tagnet.errors import InputError, single_line
from tagnet.settings import SHIPPED_MODEL
from tagnet.system import console
from tagnet.system.console import option, require_at_least
from tagnet.system.files import atomic_write, remove_unfinished, writing
from tagnet.system.runtime import import_tensorflow

if TYPE_CHECKING:
    from tagnet.serving.annotator import Annotator

USAGE = """Annotates photos with a trained model.

  python -m experiments.annotate [--model=RUN] [--jsonl=FILE] PHOTO_OR_FOLDER ...

The default model comes with tagnet and knows 18 labels; --model=RUN takes one of yours. Tags come
from keywords in the photo or its sidecar, or from --tags or --table. Without a flag that writes,
the labels are printed. With --jsonl an interrupted batch resumes."""


CSV_HEAD = "photo,label,probability\n"
HTML_HEAD = "<!DOCTYPE html>\n"
PRECISION = 0.8  # the target where no flag limits the labels
LEAST = 0.2  # and the least threshold then: a rare label's can be of a few images
UNCALIBRATED = 0.5  # the threshold of a model without validation scores
UNCHOSEN = 50  # per cent; where the gallery's slider starts if no threshold applies


@dataclasses.dataclass(frozen=True)
class Options:
    """The flags of an annotation."""

    arguments: tuple[str, ...] = ()
    model: Path = option(Path(SHIPPED_MODEL), "run directory, SavedModel or preset")
    weights: Path | None = option(None, "weight file of the backbone [downloaded or bundled]")
    tags: tuple[str, ...] | None = option(
        None, "tags for all photos, comma-separated [embedded keywords]"
    )
    table: Path | None = option(
        None, "CSV instead of photos; columns path, tags, optionally labels [none]"
    )
    separator: str = option("|", "separator between tags (or labels) in the table")
    target_precision: float | None = option(
        None, f"precision to set each label's threshold for [{PRECISION}, without the next two]"
    )
    threshold: float | None = option(None, "minimum probability of a label [none]")
    top_k: int | None = option(None, "maximum number of labels per photo [none]")
    labels: tuple[str, ...] | None = option(None, "restrict the output to these labels [all]")
    jsonl: Path | None = option(None, "write JSON Lines, one line per photo [none]")
    csv: Path | None = option(None, "write CSV, one row per photo and label [none]")
    html: Path | None = option(
        None, f"write an HTML gallery, in pages above {gallery_files.PAGE} photos [none]"
    )
    coco: Path | None = option(None, "write COCO's JSON, labels of whole images [none]")
    label_studio: Path | None = option(None, "write tasks and an interface for Label Studio [none]")
    fiftyone: Path | None = option(None, "write labels that FiftyOne imports [none]")
    corpus_photos: Path | None = option(
        None, "folder of the training photos, for --html [recorded in the data set]"
    )
    xmp: bool = option(False, "write labels into an XMP sidecar, photo.jpg.xmp")
    remove: bool = option(False, "remove the labels that --xmp wrote")
    prefix: str = option("auto", "prefix of hierarchical keywords in sidecars")

    def __post_init__(self) -> None:
        require_at_least(self, top_k=1, threshold=0, target_precision=0)
        for flag in ("threshold", "target_precision"):
            value = getattr(self, flag)
            if value is not None and value > 1:
                raise InputError(f"--{flag} must be at most 1; received {value}")
        if not self.separator:
            raise InputError("--separator must not be empty")
        if not self.prefix.strip() or "|" in self.prefix:
            raise InputError(f"--prefix must be one level of a keyword; received {self.prefix!r}")
        if bool(self.arguments) == (self.table is not None):
            raise InputError("give either photos (or folders), or --table")
        if self.tags is not None and self.table is not None:
            raise InputError("--tags and --table must not be given together")
        if self.corpus_photos is not None and not self.corpus_photos.is_dir():
            raise InputError(
                f"--corpus_photos must be a folder; received {str(self.corpus_photos)!r}"
            )

    @property
    def exchanged(self) -> dict[str, Path]:
        """The files for other tools, by the names of their formats."""
        asked = {name: getattr(self, name) for name in exchange.FORMATS}
        return {name: path for name, path in asked.items() if path is not None}

    @property
    def files(self) -> list[Path]:
        """All files that are asked for, without sidecars."""
        paths = [self.jsonl, self.csv, self.html, *self.exchanged.values()]
        if self.label_studio is not None:
            paths.append(exchange.interface_of(self.label_studio))
        return list(filter(None, paths))


def main(options: Options) -> None:
    """Runs the command."""
    left_out = 0
    if options.table is not None:
        jobs = jobs_of_table(options.table, options.separator)
    else:
        jobs, passed_over = jobs_of(options.arguments, options.tags)
        left_out = report_left_out(passed_over)
    written = options.files
    if options.html is not None:
        written.append(gallery_files.folder_of(options.html))
    if options.xmp or options.remove:
        written += [sidecars.sidecar_of(job.with_sidecars) for job in jobs]
    remove_unfinished(written)
    if options.remove:
        _remove(jobs, options.prefix)
        return
    _check_outputs(options, jobs)
    # TensorFlow takes seconds to import, which a wrong flag must not wait for.
    import_tensorflow(f"TensorFlow and the model {options.model}")
    from tagnet.serving.annotator import Annotator

    annotator = Annotator.load(options.model, options.weights)
    say_shipped(options.model, annotator.labels)
    choice, rule = _choice(options, annotator)
    console.say(f"labels: {rule}")
    asked_to_print = not (options.files or options.xmp)
    each: list[Callable[[Job, Answer], None]] = [_show] if asked_to_print else []
    changes = sidecars.Changes()
    if options.xmp:
        each.append(lambda job, answer: changes.add(_write_sidecar(job, answer, options.prefix)))
    batch = Batch(annotator, choice, options.jsonl, each)
    answers = batch.answers(jobs)
    if options.csv is not None:
        answers = _csv(answers, options.csv)
    model = exchange.Model(annotator.arch, tuple(choice.thresholds))
    for name, path in options.exchanged.items():
        answers = exchange.written(name, path, model, jobs, answers)
    if options.html is not None:
        _write_gallery(options, jobs, answers, choice, annotator)
    for _ in answers:  # those that nobody has asked for yet
        pass
    if asked_to_print:
        console.say()
    console.say(
        f"annotated {console.counted(batch.annotated, 'photo')}, skipped {batch.skipped:,}"
        + (f"; {batch.there:,} already done" if batch.there else "")
        + (f"; not used: {left_out:,} other files or folders" if left_out else "")
    )
    _say_files(options, changes)


def _remove(jobs: Sequence[Job], prefix: str) -> None:
    errors = []
    changes = sidecars.Changes()
    for job in jobs:
        try:
            changes.add(sidecars.write_labels(job.with_sidecars, [], prefix))
        except InputError as error:
            report(str(error))
            errors.append(error)
    if errors and len(errors) == len(jobs):
        raise InputError(f"no sidecar can be written; first error: {errors[0]}")
    changed, deleted = len(changes.changed), len(changes.deleted)
    console.say(
        f"removed the labels from {console.counted(changed, 'sidecar')} and deleted "
        f"{console.counted(deleted, 'sidecar')} made for labels, of "
        f"{console.counted(len(jobs), 'photo')}"
    )


def _check_outputs(options: Options, jobs: Sequence[Job]) -> None:
    """Checks the output files before any photo is annotated."""
    if options.label_studio is not None:
        exchange.require_served(options.label_studio, jobs)
    for number, file in enumerate(options.files):
        if file in options.files[:number]:
            raise InputError(
                f"{file}: must be named by one flag only; give each output a file of its own"
            )
    if options.html is not None:
        gallery_files.check_folder(options.html)
    beginnings = {options.csv: CSV_HEAD, options.html: HTML_HEAD}
    beginnings |= {path: exchange.FORMATS[name].head for name, path in options.exchanged.items()}
    if options.label_studio is not None:
        beginnings[exchange.interface_of(options.label_studio)] = exchange.INTERFACE_HEAD
    for path, beginning in beginnings.items():
        if path is None:
            continue
        folder = next(place for place in path.absolute().parents if place.exists())
        with writing(path):
            with tempfile.TemporaryFile(dir=folder):
                pass
            there = path.read_bytes() if path.exists() else b""
        if there and not there.startswith(beginning.encode()):
            raise InputError(
                f"{path}: exists and was not written by this command; "
                "choose another name or remove it"
            )


def _choice(options: Options, annotator: "Annotator") -> tuple[Choice, str]:
    """The labels that the flags and the model allow, and that rule in words."""
    known = annotator.labels
    for name in options.labels or ():
        if name not in known:
            raise InputError(f"--labels must be one of {', '.join(known)}; received {name!r}")
    wanted = options.labels or known
    precision, threshold, top_k = options.target_precision, options.threshold, options.top_k
    rules = []
    by_default = precision is None and threshold is None and top_k is None
    if by_default and annotator.validation_images:
        precision = PRECISION
    elif by_default:
        threshold = UNCALIBRATED
        rules.append("the model has no validation scores")
    least = threshold or (LEAST if by_default else 0.0)
    thresholds = dict.fromkeys(wanted, least)
    if precision is not None:
        reached = annotator.thresholds(precision)
        thresholds = {name: max(least, reached[name]) for name, least in thresholds.items()}
        rules.append(_in_words(precision, {name: thresholds[name] for name in wanted}, annotator))
    if threshold is not None:
        rules.append(f"probability of at least {threshold:.0%}")
    if top_k is not None:
        rules.append(f"at most {console.counted(top_k, 'label')} per photo")
    if by_default:
        rules.append("see --target_precision, --threshold and --top_k")
    return Choice(thresholds, top_k), "; ".join(rules)


def _in_words(precision: float, reached: Mapping[str, float], annotator: "Annotator") -> str:
    """A target precision with the thresholds that reach it."""
    finite = [threshold for threshold in reached.values() if math.isfinite(threshold)]
    images = console.counted(annotator.validation_images, "validation image")
    if not finite:
        return f"none, since no label reaches precision {precision:g} on the {images}"
    never = [name for name, threshold in reached.items() if math.isinf(threshold)]
    return (
        f"precision {precision:g} on the {images}, "
        f"thresholds {min(finite):.0%} to {max(finite):.0%}"
        + (f", never reached by {', '.join(never)}" if never else "")
    )


def _say_files(options: Options, changes: sidecars.Changes) -> None:
    """Says what was written and what opens it."""
    if options.jsonl is not None:
        console.say(f"wrote {options.jsonl}: JSON, one photo per line")
    if options.csv is not None:
        console.say(f"wrote {options.csv}: one photo and label per row")
    if options.html is not None:
        console.say(f"wrote {options.html}: open it in a browser")
    for name, path in options.exchanged.items():
        console.say(f"wrote {path}: {exchange.FORMATS[name].about}")
    if options.xmp:
        written = changes.made + changes.changed
        console.say(
            f"wrote labels to {console.counted(len(written), 'sidecar')}"
            + (f", such as {written[0]}; --remove takes them out again" if written else "")
        )


def _show(job: Job, answer: Answer) -> None:
    told = ", ".join(answer["tags"]) or "no known tags: neighbours by visual similarity"
    console.say(single_line(f"{job.name}  ({told})"), result=True)
    for label in answer["labels"]:
        console.say(single_line(f"  {label['probability']:>6.1%}  {label['label']}"), result=True)
    if not answer["labels"]:
        console.say("  no label reaches its threshold", result=True)


def _write_sidecar(job: Job, answer: Answer, prefix: str) -> sidecars.Changes:
    labels = [label["label"] for label in answer["labels"]]
    return sidecars.write_labels(job.with_sidecars, labels, prefix)


def _csv(answers: Iterable[Answer], path: Path) -> Iterator[Answer]:
    """Passes answers on and writes them as CSV; the file is there when all are passed on."""
    with (
        atomic_write(path) as temporary,
        open(temporary, "w", encoding="utf-8", newline="\n") as file,
    ):
        file.write(CSV_HEAD)
        rows = csv.writer(file, lineterminator="\n")
        for answer in answers:
            for label in answer.get("labels", ()):
                rows.writerow([answer["photo"], label["label"], f"{label['probability']:.4f}"])
            yield answer


def _write_gallery(
    options: Options,
    jobs: Sequence[Job],
    answers: Iterable[Answer],
    choice: Choice,
    annotator: "Annotator",
) -> None:
    assert options.html is not None
    model = gallery.Model(
        gallery.model_name(annotator.arch, options.model),
        tuple(choice.thresholds),
        0 if any(choice.thresholds.values()) else UNCHOSEN,
        annotator.tag_distance,
        annotator.explains,
    )
    place = gallery.corpus_place(options.model, options.corpus_photos)
    gallery_files.write(options.html, model, jobs, answers, place)


if __name__ == "__main__":
    console.run(Options, main, USAGE)
