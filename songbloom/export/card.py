"""The model card: README.md of a model folder, in Markdown with the hubs' YAML on top."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from songbloom.files import write_text
from songbloom.model.config import ModelConfig
from songbloom.training.job import flat
from songbloom.units import FRAME_RATE, SAMPLE_RATE

_USE = """\
```sh
songbloom generate lyrics.txt --prompt reference.wav --model .
```"""
_USE_RELEASE = """\
```sh
songbloom import . -o MODEL      # and back: every weight to the bit
```

Other programs that load the released SongBloom load this in its place. The `.pt` and the `.ckpt`
hold tensors alone: read them with `weights_only=True`."""
_LIMITS = """\
- It sings what it is given, in the style of what it is given. Whoever uses it answers for both.
- Latents and sketch tokens are of use with this VAE and this codebook alone.
- A licence that is not told is not a permission."""
# of [train]: what decides what is learnt
_RECIPE = (
    *("preset", "seed", "steps", "batch_size", "crop", "learning_rate", "warmup_steps"),
    *("weight_decay", "beta1", "beta2", "grad_clip", "ema_decay", "dtype", "zero", "reference"),
    *("codecs", "init_from", "reset_sketch", "lora"),
)
_CHANGES = {
    "logits_kl": "KL divergence of the sketch's distributions (nats, mean)",
    "logits_rms": "Change of logits, over their spread (RMS)",
    "same_token": "Positions whose likeliest token is the same (share)",
    "velocity_rms": "Change of the flow's velocity, over the velocity (RMS)",
}


def write_card(
    folder: Path,
    info: Mapping[str, Any],
    *,
    speeds: Mapping[str, float] | None = None,
    release: bool = False,
) -> Path:
    """Write `folder`/README.md from a `model.json` and return its path.

    `speeds` are seconds a patch by what was timed. Everything else is the same for the same model.
    """
    folder = Path(folder)
    parts = [
        "---\n" + yaml.safe_dump(_front(info), sort_keys=False, allow_unicode=True) + "---",
        f"# {_line(info['name'])}",
        "A SongBloom model (arXiv 2506.07634): lyrics and ten seconds of music in, a song out, at"
        f"\n{SAMPLE_RATE // 1000} kHz in stereo. Written by `songbloom export`.",
        *_table(("", ""), _facts(info)),
        "## Use",
        _USE_RELEASE if release else _USE,
        *_licence(folder, info),
        *_training(info.get("training", {})),
        *_adapter(info.get("merged", {})),
        *_provenance(info),
        *_scores(info),
        *_quantisation(info.get("quantisation", {}), speeds or {}),
        "## Files",
        *_table(("File", "Bytes", "SHA-256"), _files(folder, info["sha256"])),
        "## Limits",
        _LIMITS,
    ]
    write_text(folder / "README.md", "\n\n".join(parts) + "\n")
    return folder / "README.md"


def _front(info: Mapping[str, Any]) -> dict[str, Any]:
    """What the hubs file a model under."""
    licence = str(info.get("licence", "unknown"))
    own = {"license": "other", "license_name": _slug(licence)}
    known = {"license": "apache-2.0"} if licence.startswith("Apache-2.0") else own
    return {
        "library_name": "songbloom",
        "pipeline_tag": "text-to-audio",
        **known,
        "tags": ["music", "song-generation", "lyrics-to-song", "songbloom"],
    }


def _facts(info: Mapping[str, Any]) -> list[tuple[str, object]]:
    config = ModelConfig.from_dict(dict(info["config"]))
    rows: list[tuple[str, object]] = [
        ("Parameters", f"{info['parameters']:,}"),
        ("Layers", f"{config.ar_layers} sketch transformer, {config.dit_layers} flow DiT"),
        ("Width, heads", f"{config.dim}, {config.num_heads}"),
        (
            "Sketch vocabulary",
            f"{config.sketch_vocab_size:,} ({info.get('sketch_kind', 'unknown')})",
        ),
        ("Frames", f"{FRAME_RATE:g} a second, patches of {config.patch_size}"),
        ("Longest song", f"{config.sampling.max_duration:g} s"),
        ("Lyric front end", config.frontend),
        ("VAE", info["vae"]["kind"]),
        ("Codebook", f"`{info.get('codebook_hash', 'unknown')}`"),
    ]
    if "weights" in info:
        kinds = {"ema": "moving average of the training's", "raw": "as the training left them"}
        rows.append(("Weights", kinds[info["weights"]]))
    return rows


def _licence(folder: Path, info: Mapping[str, Any]) -> list[str]:
    """The model's licence, and those of the songs that it was trained on."""
    parts = ["## Licence", _line(str(info.get("licence", "unknown")))]
    if (folder / "NOTICE.txt").exists():
        parts.append("Read [NOTICE.txt](NOTICE.txt) before you use, share or build on it.")
    rows = info.get("training", {}).get("dataset", {}).get("licences", [])
    shown = [
        (row["name"] or "not told", f"{row['songs']:,}", f"{row['hours']:,.2f}") for row in rows
    ]
    return parts + (_table(("Licence of songs", "Songs", "Hours"), shown) if shown else [])


def _training(made: Mapping[str, Any]) -> list[str]:
    if not made:
        return []
    data, train = made.get("dataset", {}), made.get("train", {})
    hours = f"{data['hours']:,.2f}" if "hours" in data else "not told"
    rows: list[tuple[str, object]] = [
        ("Steps made", f"{made['step']:,}"),
        ("Songs", f"{data['songs']:,}" if "songs" in data else "not told"),
        ("Hours of music", hours),
        ("Training set", f"`{data.get('hash', 'unknown')}`"),
        (
            "songbloom, git, torch",
            ", ".join(str(made.get(k)) for k in ("songbloom", "git", "torch")),
        ),
        *((f"`{key}`", train[key]) for key in _RECIPE if _told(train.get(key))),
        *((f"Last `{k}`", f"{v:.4g}") for k, v in made.get("last_row", {}).items() if "loss" in k),
    ]
    return ["## Training", *_table(("", ""), rows)]


def _adapter(made: Mapping[str, Any]) -> list[str]:
    if not made:
        return []
    base, adapter = made["base"], made["adapter"]
    rows = [
        ("Base model", f"{base['name']}, `{base['sha256']}`"),
        ("Adapter", f"rank {adapter['rank']}, `{adapter['sha256']}`"),
        ("Adapted", ", ".join(adapter["targets"])),
    ]
    return ["## LoRA", *_table(("", ""), rows)]


def _provenance(info: Mapping[str, Any]) -> list[str]:
    told = info.get("provenance")
    return ["## Provenance", _line(str(told))] if told else []


def _scores(info: Mapping[str, Any]) -> list[str]:
    """The scores of an evaluation, or none: then that is said."""
    made = info.get("evaluation")
    if not made:
        own = [(f"`{key}`", value) for key, value in flat(info.get("scores", {})).items()]
        none = "No protocol's are told. `songbloom evaluate` makes them."
        return ["## Scores", none, *(_table(("Told by its makers", ""), own) if own else [])]
    header = ("Metric", "Value", "Interval", "Better", "Songs", "Failed", "Backend")
    rows = [
        (
            name,
            f"{_number(metric['value'])} {metric.get('unit', '')}".strip(),
            " to ".join(_number(edge) for edge in metric.get("interval") or ()),
            metric.get("better") or "",
            metric.get("songs", ""),
            metric.get("failed", ""),
            metric.get("backend", ""),
        )
        for name, metric in made["metrics"].items()
    ]
    protocol, test_set = made["protocol"], made["test_set"]
    told = (
        f"Protocol `{protocol['id']}` ({_line(protocol['name'])}), test set "
        f"`{test_set.get('hash', 'unknown')}` of {test_set.get('songs', 'unknown')} songs."
        "\nScores of another protocol are no match for these."
    )
    return ["## Scores", told, *_table(header, rows)]


def _quantisation(made: Mapping[str, Any], speeds: Mapping[str, float]) -> list[str]:
    if not made:
        return []
    change = made.get("change", {})
    rows = [(text, f"{change[key]:g}") for key, text in _CHANGES.items() if key in change]
    parts = [
        "## Weights in eight bits",
        "The linear layers of both transformers hold int8 weights with one scale a row; all else is"
        f"\nas it was. Measured in float32 over {change.get('patches', 0)} patches that the whole"
        " model sang:",
        *_table(("Change", ""), rows),
    ]
    if speeds:
        timed = [(name, f"{seconds:.3g}") for name, seconds in speeds.items()]
        parts += [
            "Seconds of the fastest of three patches on the CPU that exported it:",
            *_table(("Weights", "Seconds"), timed),
        ]
    return parts


def _files(folder: Path, hashes: Mapping[str, str]) -> list[tuple[str, str, str]]:
    return [
        (f"`{name}`", f"{(folder / name).stat().st_size:,}", f"`{digest}`")
        for name, digest in hashes.items()
    ]


def _slug(text: str) -> str:
    """The hubs' way of naming a licence."""
    return re.sub(r"[^a-z0-9.]+", "-", text.lower())[:60].strip("-") or "unknown"


def _told(value: object) -> bool:
    return value is not None and value is not False


def _number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else "-"


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    lines = [header, ["---"] * len(header), *rows]
    return ["\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)]


def _cell(value: object) -> str:
    """Text as one cell: no line breaks, no HTML, no end of the cell within it."""
    return _line(str(value)).replace("|", "\\|")


def _line(text: str) -> str:
    """Text on one line, without HTML."""
    text = " ".join(text.split())
    for character, safe in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(character, safe)
    return text
