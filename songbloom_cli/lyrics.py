"""`songbloom lyrics`: check lyrics, mend them, turn them into phonemes, convert and show them."""

import difflib
import os
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from songbloom_cli import options, output

if TYPE_CHECKING:
    from songbloom.lyrics import Convention, Finding, Lyrics
    from songbloom.lyrics.lint import Limits

STDIN = "-"
_COLOURS = {"error": typer.colors.RED, "warning": typer.colors.YELLOW}

_app = typer.Typer(help="Check, mend, convert and show lyrics.", rich_markup_mode=None)


def register(app: typer.Typer) -> None:
    """Add this module's commands to the app."""
    for command in (check, phonemes, convert, show):
        _app.command()(command)
    app.add_typer(_app, name="lyrics")


def _formats() -> list[str]:
    from songbloom.lyrics import FORMATS

    return list(FORMATS)


_LyricsArgument = Annotated[
    str,
    typer.Argument(
        metavar="FILE", help="Lyrics in any format; - for standard input.", show_default=False
    ),
]
_ConventionOption = Annotated[
    Literal["150s", "240s"],
    typer.Option(
        metavar="150s|240s",
        help="Seconds of a tag without words in the one-line format: 1 or 5 (default: 150s).",
        show_default=False,
    ),
]
_LexiconOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Words with their phonemes, a word a row, for either front end.",
        show_default=False,
    ),
]
_LanguageOption = Annotated[
    str | None,
    typer.Option(
        metavar="CODE",
        help="Language of all words, in place of one a run of letters; for v1.",
        show_default=False,
    ),
]


# ---------------------------------------------------------------- check


@dataclass(frozen=True)
class _Checked:
    """A file, what is wrong with it (after mending, if asked), and its text before and after."""

    file: str
    findings: "list[Finding]"
    text: str = ""
    mended: str = ""
    changed: bool = False

    def count(self, *severities: str) -> int:
        return sum(finding.severity in severities for finding in self.findings)


def check(
    context: typer.Context,
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE",
            help="Lyrics in any format, one file or more; - for standard input.",
            show_default=False,
        ),
    ],
    fix: Annotated[
        bool,
        typer.Option("--fix", help="Mend what can be mended, in the file itself (- to stdout)."),
    ] = False,
    diff: Annotated[
        bool, typer.Option("--diff", help="Print what --fix would change, and change nothing.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="With --fix: file for the mended lyrics, in place of the one given.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL",
            help="Check as well whether the lyrics fit this model: a name, a folder or a preset.",
            show_default=False,
            autocompletion=options.completing(options.installed_names),
        ),
    ] = None,
    lexicon: _LexiconOption = None,
    language: _LanguageOption = None,
    strict: Annotated[bool, typer.Option("--strict", help="Count warnings as errors.")] = False,
    config: options.ConfigOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Tell what is wrong with lyrics, where, and what would mend it.

    With --fix what remains is told. Ends with 0 where nothing is lost in singing, 1 where an error
    says that something is, 3 where that is so in some of several files.
    """
    _require_sense(files, fix, diff, out)
    limits = _limits(context, model, lexicon, language)
    checked = [_check_one(file, limits, mending=fix or diff) for file in files]
    if diff:
        for one in checked:
            _show_diff(one)
    elif fix:
        for one in checked:
            _write_mended(one, out)
    if as_json:
        output.result_json({"files": [_checked_json(one) for one in checked]})
    else:
        taken = diff or (fix and STDIN in files and out is None)  # stdout has another result
        _show_findings(checked, to_stderr=taken)
    severities = ("error", "warning") if strict else ("error",)
    failed = sum(one.count(*severities) > 0 for one in checked)
    raise typer.Exit((1 if failed == len(checked) else 3) if failed else 0)


def _require_sense(files: list[str], fix: bool, diff: bool, out: Path | None) -> None:
    from songbloom.errors import UsageError

    if out and (diff or not fix):
        raise UsageError("-o names the mended lyrics, and none are written", "Add --fix.")
    if out and len(files) > 1:
        raise UsageError(
            f"-o names one file for {len(files)} lyrics", "Leave it out, or mend one at a time."
        )
    if files.count(STDIN) > 1:
        raise UsageError("standard input is read once only", "Name - once.")


def _limits(
    context: typer.Context, model: str | None, lexicon: Path | None, language: str | None
) -> "Limits":
    """What the lyrics must fit: a model, if one is named, with the user's words and language."""
    from songbloom.lyrics.frontends import load_lexicon, vocabulary
    from songbloom.lyrics.lint import ANY_MODEL

    limits = _model_limits(context, model) if model else ANY_MODEL
    words = load_lexicon(lexicon, vocabulary(limits.frontend)) if lexicon else None
    return replace(limits, language=language, lexicon=words)


def _model_limits(context: typer.Context, model: str) -> "Limits":
    """What a model takes. `MissingAssetError` for one that is neither here nor a preset."""
    import json

    from songbloom import hub
    from songbloom.errors import SongBloomError
    from songbloom.model.config import PRESETS, ModelConfig, preset

    folder = options.models_folder(options.load(context))
    installed = [found.name for found in hub.installed(folder)]
    like = model.removeprefix("songbloom_").removesuffix("_dpo")  # a release by its preset
    if like in PRESETS and model not in installed:
        config = preset(like)
    else:
        path = hub.resolve(model, folder) / "model.json"
        try:
            info = json.loads(path.read_text("utf-8"))
            config = ModelConfig.from_dict(info["config"], str(path))
        except (ValueError, KeyError, TypeError) as error:
            raise SongBloomError(
                f"{path}: says nothing of the model's sizes", "List models: songbloom models"
            ) from error
    return hub.lyric_limits(config)


def _check_one(file: str, limits: "Limits", mending: bool) -> _Checked:
    from songbloom.errors import SongBloomError
    from songbloom.lyrics import lint
    from songbloom.lyrics.decoding import decode_bytes
    from songbloom.lyrics.fix import fix

    try:
        text, findings = decode_bytes(_read_bytes(file), _source(file))
    except SongBloomError as error:
        return _Checked(file, [lint.unreadable(error, _source(file))])
    mended = fix(text, limits, _source(file)) if mending else text
    changed = mended != text
    if mending and any(map(lint.is_serious, findings)):
        changed, findings = True, []  # it was in another encoding; what is written is UTF-8
    found = findings + lint.check(mended, limits, _source(file))
    return _Checked(file, found, text, mended, changed)


def _write_mended(one: _Checked, out: Path | None) -> None:
    from songbloom.files import write_text

    if out is None and one.file == STDIN:
        output.result(one.mended.removesuffix("\n"))
    elif one.changed or (out and one.mended):
        write_text(out or Path(one.file), one.mended)
        output.note(f"{out or one.file}: mended")


def _show_diff(one: _Checked) -> None:
    before, after = one.text.splitlines(), one.mended.splitlines()
    for row in difflib.unified_diff(before, after, one.file, f"{one.file} (mended)", lineterm=""):
        output.result(row)


def _show_findings(checked: list[_Checked], to_stderr: bool) -> None:
    show = output.note if to_stderr else output.result
    for one in checked:
        for finding in one.findings:
            severity = _styled(finding.severity, _COLOURS.get(finding.severity), to_stderr)
            at = f"{one.file}:{finding.place.row}:{finding.place.column}"
            where = at if finding.place.row else one.file
            message = finding.message.rstrip(".")
            mend = f"; {finding.fix}" if finding.fix else ""
            show(f"{where}: {severity}: {message}{mend} [{finding.rule}]")
    counts = [sum(one.count(kind) for one in checked) for kind in ("error", "warning")]
    output.note(f"errors: {counts[0]}, warnings: {counts[1]}, files: {len(checked)}")


def _checked_json(one: _Checked) -> dict[str, Any]:
    return {
        "file": one.file,
        "errors": one.count("error"),
        "warnings": one.count("warning"),
        "changed": one.changed,
        "findings": [_finding_json(finding) for finding in one.findings],
    }


def _finding_json(finding: "Finding") -> dict[str, Any]:
    fields = {key: value for key, value in asdict(finding).items() if key != "place"}
    return {"row": finding.place.row, "column": finding.place.column, **fields}


# ---------------------------------------------------------------- phonemes


def phonemes(
    file: _LyricsArgument,
    frontend: Annotated[
        Literal["release", "v1"],
        typer.Option(
            metavar="release|v1",
            help="'release' as the released models were trained, 'v1' as ours (default: v1).",
            show_default=False,
        ),
    ] = "v1",
    lines: Annotated[
        bool,
        typer.Option(
            "--lines", help="One lyric string a row in, one phoneme string a row out, at once."
        ),
    ] = False,
    lexicon: _LexiconOption = None,
    language: _LanguageOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Print the phonemes of lyrics, as a model reads them.

    With --json and --lines, one object a row.
    """
    from songbloom.errors import SongBloomError
    from songbloom.lyrics import frontends, lint

    words = frontends.load_lexicon(lexicon, frontends.vocabulary(frontend)) if lexicon else None

    frontends.phonemes("", frontend, language=language)  # a language that it lacks is told first

    def encode(text: str) -> dict[str, Any]:
        symbols = frontends.phonemes(text, frontend, lexicon=words, language=language)
        ids = frontends.vocabulary(frontend).encode(symbols)
        return {"line": text, "phonemes": symbols, "ids": ids}

    if lines:
        for number, text in enumerate(_rows(file), start=1):
            try:
                found = encode(text)
            except SongBloomError as error:
                message = error.message.removeprefix("lyrics: ")
                raise type(error)(f"{_source(file)}:{number}: {message}", error.hint) from error
            output.event(found) if as_json else output.result(found["phonemes"])
        return
    lyrics = _read_lyrics(file, frontend=frontend)
    limits = lint.Limits(frontend=frontend, language=language, lexicon=words)
    if refused := lint.refused_lines(lyrics, limits):
        raise SongBloomError(refused[0].text(lyrics.source), f"{refused[0].fix}.")
    _warn(lyrics)
    found = encode(lyrics.line)
    output.result_json(found) if as_json else output.result(found["phonemes"])


def _rows(file: str) -> Iterator[str]:
    """Rows of a text file or of standard input, each as soon as it is there."""
    from songbloom.errors import SongBloomError

    try:
        with nullcontext(sys.stdin.buffer) if file == STDIN else open(file, "rb") as stream:
            for number, row in enumerate(stream, start=1):
                try:
                    yield row.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                except UnicodeDecodeError as error:
                    raise SongBloomError(
                        f"{_source(file)}:{number}: not UTF-8 text", "Save it as UTF-8."
                    ) from error
    except OSError as error:
        raise _unreadable(file, error) from error


# ---------------------------------------------------------------- convert


def convert(
    file: Annotated[
        str,
        typer.Argument(
            metavar="IN", help="Lyrics in any format; - for standard input.", show_default=False
        ),
    ],
    out: Annotated[
        str,
        typer.Argument(
            metavar="OUT", help="File to write; - for standard output.", show_default=False
        ),
    ],
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="FORMAT",
            help="text, line, lrc, elrc (with word times), srt, vtt or jsonl (default: as the name "
            "of OUT says).",
            show_default=False,
            autocompletion=options.completing(_formats),
        ),
    ] = None,
    convention: _ConventionOption = "150s",
) -> None:
    """Write lyrics in another format.

    What a format cannot hold (times in plain text) is left out and named; a format that needs times
    refuses lyrics without.
    """
    from songbloom.errors import UsageError
    from songbloom.files import write_text
    from songbloom.lyrics import formats
    from songbloom.lyrics.losses import losses

    format = to or (formats.format_of(Path(out)) if out != STDIN else None)
    if format not in formats.FORMATS:
        named = "standard output" if out == STDIN else f"the name {out}"
        what = f"'{to}' is no format" if to else f"{named} says no format"
        raise UsageError(what, f"Name one with --to: {', '.join(formats.FORMATS)}.")
    lyrics = _read_lyrics(file, convention=convention)
    _warn(lyrics)
    text = formats.write(lyrics, format, convention=convention)
    if lost := losses(lyrics, text, format, convention):
        output.note(f"{format} cannot hold, and so left out: {', '.join(lost)}")
    if out == STDIN:
        output.result(text.removesuffix("\n"))
    else:
        write_text(Path(out), text)
        output.result(out)


# ---------------------------------------------------------------- show


def show(file: _LyricsArgument, as_json: options.JsonOption = False) -> None:
    """Show lyrics as they are read: sections, syllables, and how long they take to sing.

    Times are estimates; a song may be a third shorter or longer.
    """
    lyrics = _read_lyrics(file)
    parts = list(_parts(lyrics))
    if as_json:
        total = {
            "syllables": sum(part["syllables"] for part in parts),
            "seconds": round(sum(part["seconds"] for part in parts), 1),
        }
        output.result_json(
            {
                "metadata": dict(lyrics.metadata),
                "sections": parts,
                **total,
                "line": lyrics.line,
                "findings": [_finding_json(finding) for finding in lyrics.findings],
            }
        )
        return
    _warn(lyrics)
    for row in _shown(lyrics, parts):
        output.result(row)


def _parts(lyrics: "Lyrics") -> Iterator[dict[str, Any]]:
    """Each section with its estimated start and length."""
    from songbloom.lyrics.durations import line_seconds, section_seconds
    from songbloom.lyrics.syllables import count

    start = 0.0
    for section in lyrics.sections:
        seconds = section_seconds(section)
        lines = [
            {"text": text, "syllables": count(text), "seconds": round(line_seconds(text), 1)}
            for text in section.texts
        ]
        yield {
            "tag": section.tag,
            "name": section.name,
            "start": round(start, 1),
            "seconds": round(seconds, 1),
            "syllables": sum(count(text) for text in section.texts),
            "lines": lines,
        }
        start += seconds


def _shown(lyrics: "Lyrics", parts: list[dict[str, Any]]) -> Iterator[str]:
    for key, value in lyrics.metadata:
        yield f"{key}: {value}"
    for part in parts:
        heading = _styled(f"[{part['tag']}]", typer.colors.CYAN)
        name = f" {part['name']}" if part["name"] else ""
        syllables = f", {part['syllables']} syllables" if part["lines"] else ""
        yield f"{_clock(part['start'])}  {heading}{name}  {part['seconds']:.0f} s{syllables}"
        for line in part["lines"]:
            yield f"{line['syllables']:>7}  {line['text']}"
    seconds = sum(part["seconds"] for part in parts)
    syllables = sum(part["syllables"] for part in parts)
    yield f"{_clock(seconds)}  end, {syllables} syllables"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes:>2}:{rest:02d}"


# ---------------------------------------------------------------- files


def _read_lyrics(file: str, *, convention: "Convention" = "150s", frontend: str = "v1") -> "Lyrics":
    """The lyrics in a file; `v1` sings most, and only what nobody sings is warned of."""
    from songbloom.lyrics import parse_bytes

    data, source = _read_bytes(file), _source(file)
    return parse_bytes(data, source, convention=convention, frontend=frontend)


def _warn(lyrics: "Lyrics") -> None:
    for warning in lyrics.warnings:
        output.warning(warning)


def _read_bytes(file: str) -> bytes:
    """A file's bytes, no more than are refused. `SongBloomError` where it cannot be read."""
    from songbloom.lyrics.decoding import MAX_BYTES

    if file == STDIN:
        return sys.stdin.buffer.read(MAX_BYTES + 1)
    try:
        with open(file, "rb") as stream:
            return stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise _unreadable(file, error) from error


def _unreadable(file: str, error: OSError) -> Exception:
    from songbloom.errors import SongBloomError

    return SongBloomError(
        f"{file}: cannot be read ({error.strerror or error})",
        "Name a text file with lyrics, or - to read them from standard input.",
    )


def _source(file: str) -> str:
    return "standard input" if file == STDIN else file


def _styled(text: str, colour: str | None, to_stderr: bool = False) -> str:
    """Coloured on a terminal, plain in a pipe and where NO_COLOR is set."""
    stream = sys.stderr if to_stderr else sys.stdout
    if colour is None or not stream.isatty() or os.environ.get("NO_COLOR"):
        return text
    return typer.style(text, fg=colour)
