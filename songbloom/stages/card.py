"""The dataset card: README.md of a prepared dataset, in Markdown with the hubs' YAML on top."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from songbloom.files import write_text
from songbloom.stages.summary import Summary, backends, described, plain, read_json, tracks
from songbloom.tables import FiltersConfig

_MOST = 20  # rows of a table of names
_SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"))
# The hubs' names of licences, by how files and manifests spell them (lower case, "-" for spaces).
_LICENCES = {
    **{name: name for name in ("cc0-1.0", "mit", "apache-2.0", "bsd-3-clause", "gpl-3.0")},
    **{f"cc-{kind}-4.0": f"cc-{kind}-4.0" for kind in ("by", "by-sa", "by-nc", "by-nc-sa")},
    **{f"cc-{kind}-3.0": f"cc-{kind}-3.0" for kind in ("by", "by-sa", "by-nc", "by-nc-sa")},
    "cc0": "cc0-1.0",
    "public-domain": "pddl",
}

_USE = """\
```sh
songbloom train --data .        # train on it
songbloom report .              # look at it and listen to it
songbloom manifest stats .      # numbers
```

```python
from pathlib import Path
from songbloom.data.shards import open_shards

dataset = open_shards(Path("."))
song = dataset.read(0)          # sketch tokens, latents, references, sections with phonemes
```

Shards are safetensors files, described in `dataset.json` and listed by song in `index.jsonl`;
`manifest.jsonl` has a line of JSON for every song, with what each stage found."""

_LIMITS = """\
- The songs themselves are not in it: `manifest.jsonl` names their files. Their licences bind this
  dataset; a licence that is not told is not a permission.
- Words, sections and stems were found by programs and hold their mistakes; every word and section
  has the confidence of whatever found it.
- Latents and sketch tokens are those of the models named above, and of use with these alone."""


def write_card(folder: Path) -> Path:
    """Write `folder`/README.md from the manifest and the descriptions beside it; return its path.

    The same dataset gives the same bytes. `SongBloomError` where there is no manifest.
    """
    folder = Path(folder)
    summary = Summary()
    for track in tracks(folder):
        summary.add(track)
    prepared, made = read_json(folder / "prepare.json"), described(folder)
    used = prepared.get("filters", {})
    totals = summary.to_dict(used)
    parts = [
        "---\n" + yaml.safe_dump(_front(totals), sort_keys=False, allow_unicode=True) + "---",
        "# Songs for a lyrics-to-song model",
        "Made by `songbloom prepare`: songs as sketch tokens and latents, 25 of each a second, with"
        "\nlyrics, sections and reference clips.",
        *_totals(totals, made),
        *_named("Languages", totals["languages"], "songs"),
        *_named("Sections", totals["sections"], "sections"),
        *_named("Sources", totals["sources"], "songs"),
        *_named("Licences", totals["licences"], "songs"),
        *_filters(used, totals),
        *_refused(totals["refused"]),
        *_backends(prepared),
        "## Use",
        _USE,
        "## Limits",
        _LIMITS,
    ]
    write_text(folder / "README.md", "\n\n".join(parts) + "\n")
    return folder / "README.md"


def _front(totals: Mapping[str, Any]) -> dict[str, Any]:
    """What the hubs file a dataset under."""
    said = [row["name"].strip().lower().replace(" ", "-") for row in totals["licences"]]
    known = [_LICENCES.get(name, "other" if name else "unknown") for name in said] or ["unknown"]
    languages = sorted({row["name"] for row in totals["languages"] if _is_code(row["name"])})
    ready = totals["states"]["ready"]
    return {
        "pretty_name": "Songs for a lyrics-to-song model",
        **({"language": languages} if languages else {}),
        "license": known[0] if len(set(known)) == 1 else sorted(set(known)),
        "task_categories": ["text-to-audio"],
        "tags": ["music", "song-generation", "songbloom"],
        "size_categories": [next((name for most, name in _SIZES if ready < most), "n>1M")],
    }


def _is_code(language: str) -> bool:
    return language.isascii() and language.isalpha() and len(language) in (2, 3)


def _totals(totals: Mapping[str, Any], made: Mapping[str, Any]) -> list[str]:
    states = totals["states"]
    rows = [
        ("Songs ready", f"{states['ready']:,}"),
        ("Hours ready", f"{totals['hours_ready']:,.2f}"),
        ("Lines, words", f"{totals['lines']:,}, {totals['words']:,}"),
        *((f"Songs {state}", f"{states[state]:,}") for state in ("rejected", "failed", "pending")),
    ]
    for label, key in (
        ("Training set", "dataset_hash"),
        ("Sketch codebook", "codebook_hash"),
        ("VAE", "vae_hash"),
        ("Lyric front end", "frontend"),
    ):
        rows += [(label, f"`{made[key]}`")] if made.get(key) else []
    return _table(("", ""), rows)


def _named(title: str, found: Sequence[Mapping[str, Any]], unit: str) -> list[str]:
    """A table of names with counts and hours; the rarest are put together."""
    if not found:
        return []
    rows = [(row["name"] or "not told", row[unit], row["hours"]) for row in found[:_MOST]]
    if rest := found[_MOST:]:
        rows.append((f"{len(rest)} more", *(sum(r[k] for r in rest) for k in (unit, "hours"))))
    shown = [(name, f"{count:,}", f"{hours:,.2f}") for name, count, hours in rows]
    return [f"## {title}", *_table((title[:-1], unit.capitalize(), "Hours"), shown)]


def _filters(used: Mapping[str, Any], totals: Mapping[str, Any]) -> list[str]:
    """Every threshold, and how many songs it kept and refused."""
    counts = {row["rule"]: row for row in totals["rules"]}
    meanings = {f.name: f.metadata["doc"] for f in dataclasses.fields(FiltersConfig)}
    meanings["duplicate"] = "Of songs with the same bytes one is kept."
    names = dict.fromkeys((*used, *counts))
    rows = []
    for name in names:
        seen = counts.get(name, {})
        limit = used.get(name, seen.get("limit"))
        counted = (f"{seen[key]:,}" if seen else "" for key in ("kept", "refused"))
        rows.append((f"`{name}`", "" if limit is None else limit, *counted, meanings.get(name, "")))
    header = ("Filter", "Limit", "Kept", "Rejected", "Meaning")
    return ["## Filters", *_table(header, rows)] if rows else []


def _refused(found: Sequence[Mapping[str, Any]]) -> list[str]:
    if not found:
        return []
    rows = [(row["state"], row["stage"], row["reason"], f"{row['songs']:,}") for row in found]
    rest = sum(row["songs"] for row in found[_MOST:])
    rows = rows[:_MOST] + ([("", "", "other reasons", f"{rest:,}")] if rest else [])
    return ["## Left out", *_table(("State", "Stage", "Reason", "Songs"), rows)]


def _backends(prepared: Mapping[str, Any]) -> list[str]:
    rows = [
        (row["stage"], row["name"], row["why"], row["licence"], f"`{row['hash'][:16]}`")
        for row in backends(prepared)
    ]
    header = ("Stage", "Backend", "Why", "Licence of its weights", "Hash")
    return ["## Made with", *_table(header, rows)] if rows else []


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    lines = [header, ["---"] * len(header), *rows]
    return ["\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)]


def _cell(value: object) -> str:
    """Text as one cell: no line breaks, no HTML, no end of the cell within it."""
    text = " ".join(plain(str(value)).split())
    for character, safe in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("|", "\\|")):
        text = text.replace(character, safe)
    return text
