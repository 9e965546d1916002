"""What a report says, in sentences for whoever runs a shelter, and its plots: used by the page and by docs/model.md."""

from collections.abc import Sequence
from math import ceil, floor
from typing import Any

from services.image_classifier.training.groups import LEFT
from services.image_classifier.training.plots import Line, plot


def sentences(report: dict[str, Any]) -> list[str]:
    """Say what to expect of the model, from the figures of a report."""
    photos = report["photos"]
    told = [
        f"Of 100 photos like the {photos['photos']} that it was measured on, it gives an answer for"
        f" {_hundred(1 - photos['unsure']['share'])} and says `unsure` of {_hundred(photos['unsure']['share'])}."
        f" Of 100 answers, {_in_hundred(photos['accuracy_when_sure'])} are right.",
    ]
    elsewhere = report["never_trained_on"]
    if elsewhere.get("photos"):
        told.append(
            f"These photos come from the collections that it learnt from. From collections that it never saw"
            f" ({', '.join(elsewhere['sources'])}; {elsewhere['photos']} photos, rich in animals that are neither) it"
            f" is unsure of {_in_hundred(elsewhere['unsure'])} in 100, and of 100 answers"
            f" {_in_hundred(elsewhere['accuracy_when_sure'])} are right. A shelter's own cameras are such a collection:"
            " expect figures between the two, and send corrections."
        )
    else:
        told.append(
            "It has learnt from photos of every collection that it was measured on. A shelter's own cameras are another"
            " collection: expect more mistakes there, and send corrections."
        )
    scenes = photos["none_called_an_animal_above_0.9"]
    if scenes["of"]:
        told.append(
            f"Of {scenes['of']} photos without a cat or a dog, {scenes['share']:.1%} are called one with a probability"
            f" above 0.9 (between {scenes['low']:.1%} and {scenes['high']:.1%}, as few photos can tell)."
        )
    told += _of_small_animals(report["composites"]) + _of_light(report["worse"]) + _of_kinds(report["hard_negatives"])
    both = report["made"].get("cat_beside_dog")
    if both:
        found = both["labels"]["both"]
        told.append(
            f"Of made pictures of a cat beside a dog it names both in {_in_hundred(found['recall'])} of 100, and is"
            f" unsure of {_in_hundred(found['unsure'])}."
        )
    told.append(
        "What a probability says can be believed to within"
        f" {100 * photos['calibration_error']['value']:.1f} points on average, on photos like these."
    )
    told.append(f"Not measured, for want of photos: {', '.join(report['not_measured'])}.")
    return told


def _of_small_animals(frames: dict[str, Any]) -> list[str]:
    told = []
    shares = [kind for kind in frames if kind.endswith("%")]
    if shares:
        each = "; ".join(
            f"{kind} of the frame: {_in_hundred(frames[kind]['accuracy'])} named right when it must decide,"
            f" {_in_hundred(frames[kind]['unsure'])} unsure"
            for kind in shares
        )
        told.append(
            f"In whole frames of 16:9, of 100 animals that take {each}. Where it misses an animal it mostly calls the"
            " space empty: mount cameras close enough for an animal to fill a good part of the picture, or give a"
            " space several."
        )
    if "empty" in frames and "patch" in frames:
        alone, patched = (frames[kind]["labels"]["none"]["recall"] for kind in ("empty", "patch"))
        told.append(
            f"The same frames without an animal are called empty in {_in_hundred(alone)} of 100, and in"
            f" {_in_hundred(patched)} with a piece of another room pasted in, so pasting alone is rarely taken for an"
            " animal."
        )
    return told


def _of_light(worse: dict[str, dict[str, Any]]) -> list[str]:
    told = []
    for group, words in (("light_left", "less light"), ("contrast_left", "less contrast, as behind haze")):
        each = [
            f"{left}: {_in_hundred(row['right'])} named right and {_in_hundred(row['wrong'])} wrong"
            for left, row in worse[group].items()
            if left in LEFT
        ]
        if each:
            told.append(f"Of 100 of these photos with {words}, {'; '.join(each)}; the others are left undecided.")
    return told


def _of_kinds(kinds: dict[str, Any]) -> list[str]:
    enough = [(row["called_an_animal"]["share"], name) for name, row in kinds.items() if row["photos"] >= 5]
    if not enough:
        return []
    worst, best = sorted(enough)[-3:][::-1], sorted(enough)[:3]
    return [
        f"It is most easily taken in by {_listed(worst)}, and least by {_listed(best)} (share called a cat or a dog)."
    ]


def _listed(found: list[tuple[float, str]]) -> str:
    return ", ".join(f"{name} ({share:.0%})" for share, name in found)


def plots(report: dict[str, Any]) -> dict[str, str]:
    """Draw a report: its plots as SVG, by name."""
    photos, elsewhere = report["photos"], report["never_trained_on"]
    drawn = {
        "reliability": plot(
            [
                Line(
                    species,
                    [(point["stated"], point["found"]["share"]) for point in row["reliability"]],
                    [(point["found"]["low"], point["found"]["high"]) for point in row["reliability"]],
                )
                for species, row in photos["species"].items()
            ],
            ("stated probability", 0.0, 1.0),
            ("found share", 0.0, 1.0),
            diagonal=True,
        ),
        "risk-at-coverage": plot(
            [_risk("photos", photos), *([_risk("never trained on", elsewhere)] if elsewhere.get("photos") else [])],
            ("share of photos answered", 0.5, 1.0),
            ("wrong answers", 0.0, 0.25),
        ),
    }
    shares = [kind for kind in report["composites"] if kind.endswith("%")]
    if shares:
        drawn["small-animals"] = plot(
            [
                _shares("named right, forced", shares, report, "accuracy"),
                _shares("unsure", shares, report, "unsure"),
            ],
            ("animal's share of a 16:9 frame", 0.0, 0.5),
            ("frames", 0.0, 1.0),
        )
    return drawn


def networks(rows: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Draw a comparison: what each network's sizes get right against what they cost, as SVG by name."""
    most = ceil(max(row["cpu_ms_at_8"] for row in rows) * 2.1) / 2
    drawn = {}
    for name, of in (("networks-val", "val"), ("networks-never-seen", "never_trained_on")):
        found: dict[str, list[tuple[float, dict[str, Any]]]] = {}
        for row in rows:
            if row[of]:
                found.setdefault(row["network"], []).append((row["cpu_ms_at_8"], row[of]["accuracy"]))
        if found:
            lines = [
                Line(network, [(x, y["share"]) for x, y in points], [(y["low"], y["high"]) for _, y in points])
                for network, points in found.items()
            ]
            shares = [y["share"] for points in found.values() for _, y in points]
            where = "val" if of == "val" else "sources never trained on"
            low = floor(min(shares) * 20 - 1) / 20
            high = low + ceil((max(shares) + 0.05 - low) * 4) / 4
            axis = (f"right on {where}, forced", low, high)
            drawn[name] = plot(lines, ("CPU ms a look, one thread", 0.0, most), axis)
    return drawn


def _risk(name: str, figures: dict[str, Any]) -> Line:
    rows = figures["risk_at_coverage"]
    return Line(
        name,
        [(row["coverage"], row["risk"]["share"]) for row in rows],
        [(row["risk"]["low"], row["risk"]["high"]) for row in rows],
    )


def _shares(name: str, kinds: list[str], report: dict[str, Any], figure: str) -> Line:
    found = [report["composites"][kind][figure] for kind in kinds]
    places = [int(kind.rstrip("%")) / 100 for kind in kinds]
    return Line(
        name,
        [(x, row["share"]) for x, row in zip(places, found, strict=True)],
        [(row["low"], row["high"]) for row in found],
    )


def curve(lines: list[dict[str, Any]]) -> str:
    """Draw a training run: loss and accuracy on calibration photos, an epoch a point."""
    last = max(line["epoch"] for line in lines)
    return plot(
        [
            Line("loss of training", [(line["epoch"], line["loss"]) for line in lines]),
            Line("accuracy on calibration photos", [(line["epoch"], line["calibration_accuracy"]) for line in lines]),
        ],
        ("epoch", 0.0, float(max(last, 5))),
        ("loss, accuracy", 0.0, 1.0),
        percent=False,
    )


def _hundred(share: float) -> str:
    return f"{100 * share:.0f}"


def _in_hundred(found: dict[str, Any]) -> str:
    return "none" if found["share"] is None else _hundred(found["share"])
