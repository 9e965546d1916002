"""Write docs/model.md of an evaluation: `python -m services.image_classifier.training.model_report REPORT CURVE DOCS`.

REPORT is report.json of `make evaluate`, CURVE curve.jsonl of the run. DOCS gets model.md, and model/ with its plots
and the curve; what else was measured and is kept there (never-seen.md, speed.json, compare.json) is shown if it is
there. No photo gets in.
"""

import argparse
import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from services.image_classifier.training.page import (
    HOW_WORSE,
    groups_rows,
    hard_negatives_rows,
    labels_rows,
    worded,
    worse_rows,
)
from services.image_classifier.training.photos import DRAWN
from services.image_classifier.training.summary import curve, networks, plots, sentences

_INTENDED: Final = """
## What it is for

It says of a photo of a shelter's space whether a cat, and whether a dog, is to be seen, so that occupancy can be told
over many frames. It is one witness among several: occupancy weighs its probabilities over time, and people are believed
over it. It is **not** for counting animals, telling one from another, judging health, or deciding anything about an
animal without a person; nor for people: it was never taught to find them, and nobody should try.
"""
_LICENCES: Final = """
## Data and licences

The photos were collected on 22 November 2026 from public repositories; near-duplicates were removed over all splits,
so that no photo of val has a twin in training. Two large sources (`hq`, `4g`) are shelter photos of the *Dogs vs. Cats*
collection; none states a licence for them. `co` is CC0 1.0; `ra` is under the MIT licence; `pl`'s MIT licence covers
its code. The others state none. So the photos were used to train and to measure, and none is republished: none is in
this repository, and the pages with mistakes are kept out of it. The weights are ours, trained from scratch. Labels are
wrong in fewer than 0.5 % of the photos; most photos of both animals carry one label: `both` was learnt from composites.
"""
_FURTHER: Final = """
## What would take it further

1. **Photos from shelters' own cameras**, a few hundred a camera type, with empty kennels, infra-red and ceiling views:
   no augmentation stands in for them. Corrections made on the page are such photos, with labels.
2. **More animals that are neither**, of many species: most false alarms with a high probability are such animals.
3. **A longer run** on a GPU, with a larger network as teacher (`--teacher`) and other sources held out whole in each of
   several runs: the figures of sources never seen would then rest on all of them.
4. Finer labels for photos without cat and dog (toys, bedding, people), so that false alarms can be told by kind.
"""
NEVER_SEEN: Final = "never-seen.md"
"""What the last run that left out sources told of them: it is as dear as the run that ships, and made less often."""
_COMPARED: Final = (
    "network",
    "pixels",
    "CPU ms, batch 8",
    "right on val, forced",
    "cat or dog",
    "right where never trained, forced",
    "cat or dog",
)
_HEADS: Final = {
    "source": "By source",
    "source_never_trained_on": "By source that was never trained on",
    "animal_share": "By the animal's share of the photo",
    "brightness": "By brightness (mean of all values, of 255)",
}


def model_report(report: dict[str, Any], lines: list[dict[str, Any]], figures: Path) -> str:
    """Give the text of docs/model.md; `figures` is the folder beside it with plots and other measurements."""
    trained_on = report["trained_on"]
    recipe = trained_on["recipe"]
    limits = report["thresholds"]["cat"]
    seconds = sum(line["seconds"] for line in lines)
    parts = [
        f"# The model: `{report['model']}/{report['version']}`\n",
        "Written by `make model-report` from the evaluation; the words and figures here are those of its page.\n",
        "## What to expect\n",
        *(f"- {sentence}" for sentence in sentences(report)),
        _INTENDED,
        "## Figures\n",
        "In brackets 95 % confidence intervals: Wilson's for shares, a seeded bootstrap over photos for the others.\n",
        _table(*groups_rows({"photos (val)": report["photos"], **_elsewhere(report), **report["made"]})),
        "At the shipped thresholds, where an unsure answer counts as not found:\n",
        _table(*labels_rows(report["photos"])),
        f"An answer is given from a probability of {limits['present_above']} up or {limits['absent_below']} down"
        " ([why](adr/0012-calibration-and-thresholds.md)).\n",
        _pictures(figures, ("reliability", "risk-at-coverage")),
        "### Whole frames of 16:9 with a small animal\n",
        _table(*groups_rows(report["composites"])),
        _pictures(figures, ("small-animals",)),
        "### False alarms by kind\n",
        _table(*hard_negatives_rows(report["hard_negatives"])),
    ]
    for name, head in _HEADS.items():
        if report["by"][name]:
            parts += [f"### {head}\n", _table(*groups_rows(report["by"][name]))]
    for name, words in HOW_WORSE.items():
        parts += [f"### The same photos, {words}\n", _table(*worse_rows(report["worse"][name]))]
    never_seen = figures / NEVER_SEEN
    if never_seen.exists():
        parts.append(never_seen.read_text(encoding="utf-8"))
    flags = [(name, worded(row)) for name, row in report["quality"].items()]
    parts += [
        "### Quality flags on photos that a person can judge\n",
        _table(("flag", "share of photos"), flags),
        _LICENCES,
        "## How it was trained\n",
        f"{trained_on['photos']} pictures, {_drawn(trained_on)} of them drawn by the demo's renderer,"
        f" {trained_on['calibration_photos']} photos more to calibrate; held out whole:"
        f" {', '.join(trained_on['held_out_sources']) or 'no source'}. {recipe['network']} at {recipe['sizes'][-1][0]}"
        f" pixels, served at {report['input_size']}; {recipe['epochs']} epochs, seed {recipe['seed']}"
        + (", beginning with the weights of an earlier run" if recipe["start_from"] else ", from scratch")
        + (f". The run took {seconds / 3600:.1f} hours" if lines else "")
        + ".\n",
        f"`{json.dumps(recipe)}`\n",
        _pictures(figures, ("curve",)) + "The log is in [model/curve.jsonl](model/curve.jsonl), a line an epoch.\n",
        *_measured_elsewhere(figures),
        _FURTHER,
    ]
    return "\n".join(parts).rstrip() + "\n"


def _elsewhere(report: dict[str, Any]) -> dict[str, Any]:
    return {"never trained on": report["never_trained_on"]} if "photos" in report["never_trained_on"] else {}


def _drawn(trained_on: dict[str, Any]) -> int:
    return int(trained_on.get("photos_of_source", {}).get(DRAWN, 0))


def _unseen(earlier: dict[str, Any]) -> str:
    """Show how another run did on the sources that it had left out whole."""
    recipe = earlier["trained_on"]["recipe"]
    parts = [
        "### Sources that a run never saw\n",
        "The run that ships learnt from every source. How one does elsewhere was measured with another run"
        f" ({recipe['network']}, {recipe['epochs']} epochs, {earlier['trained_on']['photos']} photos), which had left"
        f" out {', '.join(earlier['never_trained_on']['sources'])} whole; they are rich in animals that are neither:\n",
        _table(
            *groups_rows(
                {
                    "its val": earlier["photos"],
                    "all it never saw": earlier["never_trained_on"],
                    **earlier["by"]["source_never_trained_on"],
                }
            )
        ),
        _table(*labels_rows(earlier["never_trained_on"])),
        "Its false alarms by kind, val and the sources that it never saw together:\n",
        _table(*hard_negatives_rows(earlier["hard_negatives"])),
    ]
    return "\n".join(parts)


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    heads = tuple(head)
    lines = [heads, ("---",) * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _pictures(figures: Path, names: Iterable[str]) -> str:
    shown = [f"![{name.replace('-', ' ')}](model/{name}.svg)" for name in names if (figures / f"{name}.svg").exists()]
    return "\n".join(shown) + "\n" if shown else ""


def _measured_elsewhere(figures: Path) -> list[str]:
    """Show what other commands measured: what networks cost, and how well short equal runs of them did."""
    parts = []
    if (figures / "speed.json").exists():
        rows = json.loads((figures / "speed.json").read_text(encoding="utf-8"))
        sizes = list(rows[0]["cpu_ms"])
        batches = list(rows[0]["cpu_ms"][sizes[0]])
        head = ("network", "MB", *(f"{size} px, batch {batch}" for size in sizes for batch in batches))
        cells = (
            (r["network"], f"{r['megabytes']:.1f}", *(f"{r['cpu_ms'][s][b]:.2f}" for s in sizes for b in batches))
            for r in rows
        )
        parts += [
            "## What networks cost\n",
            "CPU ms of one look at a picture, ONNX Runtime, one thread, random weights (`make model-speed`).",
            "Where the first look leaves a doubt there are three more"
            " ([why](adr/0015-a-larger-picture-and-a-second-look.md)).\n",
            _table(head, cells),
        ]
    if (figures / "compare.json").exists():
        rows = json.loads((figures / "compare.json").read_text(encoding="utf-8"))
        parts += [
            "## Networks and sizes compared\n",
            f"Short equal runs from scratch, {rows[0]['epochs']} epochs each (`make compare`): only network and picture"
            " size differ, so the differences tell, and the figures themselves do not. Left out whole:"
            f" {', '.join(rows[0]['held_out']) or 'no source'}.\n",
            _table(_COMPARED, (_compared(row) for row in rows)),
            _pictures(figures, networks(rows)),
        ]
    return parts


def _compared(row: dict[str, Any]) -> tuple[str, ...]:
    unseen = row["never_trained_on"]
    return (
        row["network"],
        str(row["size"]),
        f"{row['cpu_ms_at_8']:.2f}",
        *(worded(row["val"][name]) for name in ("accuracy", "cat_against_dog")),
        *(worded(unseen[name]) if unseen else "-" for name in ("accuracy", "cat_against_dog")),
    )


def write(report: Path, curve_file: Path, docs: Path, earlier: Path | None = None) -> None:
    """Write docs/model.md and what it shows.

    `earlier` is the report of another run, which had left out whole sources that this one learnt from; what it tells is
    kept for later reports. Raises ValueError if it left no source out.
    """
    measured = json.loads(report.read_text(encoding="utf-8"))
    other = None if earlier is None else json.loads(earlier.read_text(encoding="utf-8"))
    if other is not None and "photos" not in other["never_trained_on"]:
        raise ValueError(f"{earlier} is of a run that left no source out, so it says nothing more")
    figures = docs / "model"
    figures.mkdir(parents=True, exist_ok=True)
    compared = figures / "compare.json"
    lines = [json.loads(line) for line in curve_file.read_text(encoding="utf-8").splitlines()]
    drawn_too = networks(json.loads(compared.read_text(encoding="utf-8"))) if compared.exists() else {}
    for name, drawn in {**plots(measured), "curve": curve(lines), **drawn_too}.items():
        (figures / f"{name}.svg").write_text(drawn, encoding="utf-8")
    if other is not None:
        (figures / NEVER_SEEN).write_text(_unseen(other), encoding="utf-8")
    if curve_file.resolve() != (figures / "curve.jsonl").resolve():
        shutil.copyfile(curve_file, figures / "curve.jsonl")
    (docs / "model.md").write_text(model_report(measured, lines, figures), encoding="utf-8")


def main() -> None:
    """Read the command line and write the report."""
    parser = argparse.ArgumentParser(description="Write docs/model.md from an evaluation.")
    parser.add_argument("report", type=Path, help="report.json of an evaluation")
    parser.add_argument("curve", type=Path, help="curve.jsonl of the run")
    parser.add_argument("docs", type=Path, help="folder for model.md and model/")
    parser.add_argument("--held-out", type=Path, help="report.json of a run that left out sources which this one saw")
    given = parser.parse_args()
    write(given.report, given.curve, given.docs, given.held_out)


if __name__ == "__main__":
    main()
