"""docs/models.md: the cards of the weights that the package ships, for people to read."""

import shlex
from collections.abc import Sequence
from typing import Any

from softgate_ext.files.counted import counted

_CITED = ("none stated; its authors ask for citation", "research")
_MPII = ("annotations Simplified BSD, pictures for research", "research")
LICENCES = {"lsp": _CITED, "lspet": _CITED, "flic": _CITED, "mpii": _MPII, "mpii-json": _MPII}
"""By the format of a dataset: its licence, and what weights may be used for that come from it."""

_HEAD = """# Models

Weights that the package ships. Their SHA-256 is checked whenever they are loaded, and nothing is downloaded. This page is written
by `python -m softgate_ext.cli.publish`, from the cards beside the weights (`softgate_ext/pretrained/*.json`).

The names are taken wherever a run is: `softgate predict photo.jpg` uses {default}, and so do
`softgate evaluate {default} DATA`, `serve`, `gates`, `export`, `train --init {default}` and
`softgate_ext.PosePredictor.from_pretrained("{default}")`. A folder of that name, here or in `runs`, is used first.
In Python, `softgate_ext.models.create_model("hybrid_2x48", pretrained="{default}")` is the network alone, and
`list_models(pretrained=True)` and `list_pretrained()` say what there is. Options that differ from those of the
weights are refused; `--init` takes what fits.
"""

_PICTURES = """## In pictures

`softgate-small` on two photographs. The left one has a box about the person, whose lower legs are outside the picture.
The right one is a known failure: without a box, a portrait of head and shoulders gets the pose of a smaller body.
[Prediction](prediction.md#what-a-score-means) says where the photographs come from.

![a person whose lower legs are outside the picture, and a portrait](images/photographs.jpg)
"""


def curve_of(name: str) -> str:
    """The picture of the learning curve of these weights, relative to the page."""
    return f"images/{name.replace('-', '_')}_learning_curve.png"


def model_page(cards: Sequence[dict[str, Any]]) -> str:
    """The page, of all cards."""
    from softgate_ext.pretrained.shipped import DEFAULT

    return "\n".join([_HEAD.format(default=DEFAULT), *map(card_text, cards), _PICTURES])


def card_text(card: dict[str, Any]) -> str:
    """One card as Markdown."""
    recipe = ", ".join(f"{key} {value}" for key, value in card["recipe"].items() if value)
    over = "" if card["finished"] else ". **The training was not over when these were taken**"
    size = card["image_size"]
    return "\n".join(
        [
            f"## {card['name']}",
            "",
            f"`{card['model']}`, {card['parameters']:,} parameters, for people in crops of {size} x "
            f"{size} pixels; {card['bytes'] / 2**20:.2f} MiB of float16, SHA-256",
            f"`{card['sha256']}`.",
            "",
            f"Joints: {', '.join(card['joints'])}.",
            "",
            "| trained on | samples | licence of the data |",
            "|---|---|---|",
            *_trained_on(card),
            "",
            f"Licence of the weights: {card['licence']}.",
            "",
            f"    {card['command']}",
            "",
            f"At commit `{card['commit'][:12]}`, {counted(card['epochs'], 'epoch[s]')} ({card['steps']} steps) in "
            f"{card['hours']} hours on {card['cores']} processor cores, at most {card['core_hours']} core "
            f"hours{over}. Recipe: {recipe}.",
            *_continued(card),
            "",
            *_figures(card["figures"]),
            "",
            "The last training, with the score on the samples that it watched:",
            "",
            f"![learning curve of {card['name']}]({curve_of(card['name'])})",
            "",
            "Known failures:",
            "",
            *(f"- {sentence}" for sentence in (*_weak(card["figures"]), *card["failures"])),
            "",
        ]
    )


def _trained_on(card: dict[str, Any]) -> list[str]:
    """A row for each dataset of the last training, and for those of the trainings before it alone."""
    rows = {d["title"]: f"| {d['title']} | {d['people']} | {d['licence']} |" for d in card["data"]}
    for one in card.get("continues", ()):
        for d in one.get("data", ()):
            rows.setdefault(
                d["title"],
                f"| {d['title']}, before the last training | {d['people']} | {d['licence']} |",
            )
    return [*rows.values()]


def _continued(card: dict[str, Any]) -> list[str]:
    """The trainings behind the weights that the last training started from, the last one first."""
    before = card.get("continues", ())
    if not before:
        return []
    total = card["core_hours"] + sum(one["core_hours"] for one in before)
    lines = [
        "",
        f"The weights come from {counted(len(before) + 1, 'training[s]')} of {total:.1f} core hours in all. The one "
        "above started from the weights of the first row, and each of these from those of the row below.",
        f"Their commands are under `continues` in `softgate_ext/pretrained/{card['name']}.json`.",
        "",
        "| weights, SHA-256 | crops | learning rate | epochs | core hours | commit |",
        "|---|---|---|---|---|---|",
    ]
    for one in before:
        words = shlex.split(one["command"])
        side, rate = (words[words.index(flag) + 1] for flag in ("--image-size", "--lr"))
        lines.append(
            f"| `{one['sha256'][:12]}` | {side} x {side} | {rate} | {one['epochs']} | {one['core_hours']} | "
            f"`{one['commit'][:12]}` |"
        )
    return lines


def _figures(figures: Sequence[dict[str, Any]]) -> list[str]:
    rows = ["| measured by | metric, samples | mean pose | these weights | in float32 |"]
    rows += ["|---|---|---|---|---|"]
    for one in figures:
        constant = "" if one["mean_pose"] is None else f"{one['mean_pose']:.1f}"
        single = f"{one['float32']:.1f}" if "float32" in one else ""
        rows.append(
            f"| `{one['command']}` | {one['metric']}, {one['people']} | {constant} | "
            f"{one['figure']:.1f} | {single} |"
        )
    return rows


def _weak(figures: Sequence[dict[str, Any]]) -> list[str]:
    """What follows from the figures themselves, and from what the network is."""
    first = figures[0]
    weakest = sorted(first["columns"].items(), key=lambda column: column[1])[:3]
    return [
        "It sees one person in each box and never says that nobody is there. Without a box the whole "
        "picture is one; `--detect` finds people first.",
        f"{', '.join(f'{name} {value:.1f} %' for name, value in weakest)} are its weakest joints by "
        f"the first percentage ({first['figure']:.1f} %).",
    ]
