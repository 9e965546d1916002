"""A report as a page: plain words first, then plots and tables; made of one file, and the mistakes' thumbnails."""

import json
from collections.abc import Iterable, Sequence
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from PIL import Image

from services.image_classifier.training.summary import plots, sentences

_STYLE: Final = """
:root{color-scheme:light dark;--ink:#222;--ground:#fff;--rule:#ccc;--soft:#f3f1ee}
@media(prefers-color-scheme:dark){:root{--ink:#e6e6e6;--ground:#181818;--rule:#444;--soft:#242424}}
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--ground);max-width:62rem;margin:2rem auto;
padding:0 1rem}table{border-collapse:collapse;margin:.5rem 0 1.5rem;font-size:.9rem}td,th{padding:.2rem .7rem;
border-bottom:1px solid var(--rule);text-align:right}td:first-child,th:first-child{text-align:left}
.say{background:var(--soft);padding:1rem 1.5rem;border-radius:.5rem}.plots,.wrong{display:flex;flex-wrap:wrap;gap:1rem}
figure{margin:0;font-size:.8rem}.wrong figure{width:9rem}.wrong img{width:100%}.scroll{overflow-x:auto}
svg{max-width:100%;height:auto}
"""
_GROUPS: Final = {
    "source": "By source",
    "source_never_trained_on": "By source that was never trained on",
    "animal_share": "By the animal's share of the photo (photos with one box)",
    "brightness": "By brightness (mean of all values, 0 to 255)",
}
HOW_WORSE: Final = {
    "jpeg_quality": "compressed again to a JPEG quality",
    "light_left": "with less light",
    "contrast_left": "behind haze that leaves less contrast",
    "lamp": "in coloured light",
}


def write_page(folder: Path, report: dict[str, Any], mistakes: Sequence[tuple[str, str, bytes]]) -> None:
    """Write `report.json`, `index.html` and the thumbnails of mistakes (label, what was said, JPEG) into a folder.

    The folder is kept out of git, as photos must never get in.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".gitignore").write_text("*\n", encoding="utf-8")
    (folder / "report.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    (folder / "mistakes").mkdir(exist_ok=True)
    for old in (folder / "mistakes").glob("*.jpg"):
        old.unlink()
    pictures = []
    for number, (label, said, content) in enumerate(mistakes):
        image = Image.open(BytesIO(content)).convert("RGB")
        image.thumbnail((160, 160))
        image.save(folder / "mistakes" / f"{number:02}.jpg", quality=80)
        words = f"{escape(label)}, called {escape(said)}"
        pictures.append(
            f'<figure><img src="mistakes/{number:02}.jpg" alt="a photo of: {escape(label)}">{words}</figure>'
        )
    title = f"{report['model']} {report['version']}: what to expect"
    body = [
        f"<h1>{escape(title)}</h1>",
        f'<div class="say"><p>{"</p><p>".join(escape(s).replace("`", "") for s in sentences(report))}</p></div>',
        f'<h2>Plots</h2><div class="plots">{"".join(plots(report).values())}</div>',
        "<h2>Figures</h2>",
        "<p>In brackets: 95 % confidence intervals (Wilson's for shares, a bootstrap over photos for the others).</p>",
        groups_table({"photos": report["photos"], **_elsewhere(report), **report["made"]}),
        "<h2>By label</h2><p>At the shipped thresholds; an unsure answer counts as not found.</p>",
        labels_table(report["photos"]),
        "<h2>What photos are called</h2>",
        confusion_table(report["photos"]["confusion"]),
        "<h2>Photos without cat and dog</h2>",
        hard_negatives_table(report["hard_negatives"]),
        "<h2>16:9 frames by the animal's share</h2>",
        groups_table(report["composites"]),
    ]
    for key, words in _GROUPS.items():
        if report["by"][key]:
            body += [f"<h2>{words}</h2>", groups_table(report["by"][key])]
    for key, words in HOW_WORSE.items():
        body += [f"<h2>The same photos, {words}</h2>", table(*worse_rows(report["worse"][key]))]
    body += [
        "<h2>Quality flags</h2>",
        table(("flag", "share of photos"), [(name, worded(row)) for name, row in report["quality"].items()]),
        f'<h2>Mistakes it was most certain of</h2><div class="wrong">{"".join(pictures)}</div>',
    ]
    page = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style><body>{''.join(body)}</body></html>\n"
    )
    (folder / "index.html").write_text(page, encoding="utf-8")


def _elsewhere(report: dict[str, Any]) -> dict[str, Any]:
    return {"never trained on": report["never_trained_on"]} if "photos" in report["never_trained_on"] else {}


def groups_rows(groups: dict[str, Any]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Give the head and the rows of a table of groups."""
    head = ("", "photos", "right, forced", "cat or dog", "unsure", "right when sure", "ECE", "AUROC cat", "AUROC dog")
    rows = [
        (
            name,
            str(row["photos"]),
            *(worded(row[figure]) for figure in ("accuracy", "cat_against_dog", "unsure", "accuracy_when_sure")),
            valued(row["calibration_error"]),
            *(valued(row["species"][species]["area_under_curve"]) for species in ("cat", "dog")),
        )
        for name, row in groups.items()
    ]
    return head, rows


def groups_table(groups: dict[str, Any]) -> str:
    """Draw a row for each group."""
    return table(*groups_rows(groups))


def worse_rows(groups: dict[str, Any]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Give the head and the rows of a table of photos that were made worse, as the service answers."""
    head = ("", "photos", "answered right", "answered wrong", "undecided", "animals called none")
    figures = ("right", "wrong", "undecided", "animals_called_none")
    return head, [(name, str(row["photos"]), *(worded(row[f]) for f in figures)) for name, row in groups.items()]


def labels_rows(figures: dict[str, Any]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Give the head and the rows of a table of labels."""
    head = ("label", "photos", "recall", "recall, forced", "precision", "unsure")
    rows = [
        (name, str(row["photos"]), *(worded(row[f]) for f in ("recall", "recall_forced", "precision", "unsure")))
        for name, row in figures["labels"].items()
    ]
    return head, rows


def labels_table(figures: dict[str, Any]) -> str:
    """Draw a row for each label."""
    return table(*labels_rows(figures))


def confusion_table(confusion: dict[str, dict[str, int]]) -> str:
    """Draw what each label was called."""
    said = ("cat", "dog", "both", "none", "unsure")
    rows = [(name, *(str(row.get(word, 0)) for word in said)) for name, row in confusion.items()]
    return table(("it is", *(f"called {word}" for word in said)), rows)


def hard_negatives_rows(kinds: dict[str, Any]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Give the head and the rows of the table of false alarms by kind."""
    head = ("what they show", "photos", "called cat or dog", "with more than 0.9", "unsure")
    figures = ("called_an_animal", "called_an_animal_above_0.9", "unsure")
    return head, [(name, str(row["photos"]), *(worded(row[f]) for f in figures)) for name, row in kinds.items()]


def hard_negatives_table(kinds: dict[str, Any]) -> str:
    """Draw false alarms by kind."""
    return table(*hard_negatives_rows(kinds))


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Draw a table."""
    cells = "".join(f"<th>{escape(word)}</th>" for word in head)
    lines = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><tr>{cells}</tr>{lines}</table></div>'


def worded(found: dict[str, Any]) -> str:
    """Write a share and its interval."""
    if found["share"] is None:
        return "-"
    return f"{100 * found['share']:.1f} % ({100 * found['low']:.1f} to {100 * found['high']:.1f})"


def valued(found: dict[str, Any]) -> str:
    """Write a figure and its interval."""
    return "-" if found["value"] is None else f"{found['value']:.3f} ({found['low']:.3f} to {found['high']:.3f})"
