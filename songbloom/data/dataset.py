"""Songs on disk as samples to learn from: crops, their lyrics, a reference, dropped conditions.

Everything random about a sample comes from (seed, epoch, track): no rank, batch or worker is in it.
T frames of a crop, C latent channels, P patch size.
"""

import copy
import functools
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from songbloom.data.shards import DatasetInfo, Shards, SungLine, SungSection, TrainingSong
from songbloom.errors import SongBloomError, UsageError
from songbloom.lyrics.frontends import vocabulary
from songbloom.model.conditioning import NULL_CONDITIONS, Conditions, LyricIds
from songbloom.model.config import ModelConfig
from songbloom.units import FRAME_RATE, Frames, Seconds, frames_to_seconds

# Where the reference comes from: the song itself, beside the crop; another song; either, evenly.
ReferencePolicy = Literal["same", "other", "mixed"]
Crop = tuple[Frames, Frames]  # [start, end) of a song
NOTHING_NEXT = -1  # no symbol or beat of known time begins any more
REFERENCE_POLICIES: tuple[ReferencePolicy, ...] = ("same", "other", "mixed")


@dataclass(frozen=True)
class Sample:
    """A crop of a song. `sketch` and `latents` are views of the file, in its dtypes."""

    key: str  # the track's id
    start: Frames  # of the crop in the song, a multiple of P
    sketch: Tensor  # [T] int32
    latents: Tensor  # [T, C] float16
    conditions: Conditions
    ends: bool  # the crop reaches the song's end
    next_symbol: Tensor  # [T + 1] int64: see `next_symbols`
    next_beat: Tensor  # [T + 1] int64: see `frames_to_beats`
    tempo: float  # beats a minute; 0 where nobody knows
    seed: int  # for whatever else is drawn for this sample: flow noise, masks


class Clip(NamedTuple):
    """A reference clip: latents `[R, C]` and, where it is of the sample's own song, its sketch
    `[R]`; a score may have a clip of a song like it, which starts where the score ends."""

    reference: Tensor | None = None
    sketch: Tensor | None = None
    beats: Tensor | None = None  # [R] int64: see `frames_to_beats`

    @classmethod
    def of_song(cls, song: TrainingSong, index: int) -> "Clip":
        """One of a song's clips."""
        latents, start = song.references[index], song.reference_starts[index]
        sketch = torch.from_numpy(song.sketch[start : start + len(latents)]).long()
        beats = frames_to_beats(song.beats, start, len(latents)) if song.beats else None
        return cls(torch.from_numpy(latents).float(), sketch if len(sketch) else None, beats)


class Dataset:
    """Samples of an open dataset for one model.

    `max_frames` (a multiple of P) is the longest crop, None for whole songs; songs shorter than
    `min_frames` are left out. `dropout=False` keeps all conditions, for validation. The hashes are
    the model's own (None: not known yet). `SongBloomError` for a dataset that was made for another
    model, `UsageError` for lengths that cannot be meant.
    """

    def __init__(
        self,
        shards: Shards,
        config: ModelConfig,
        *,
        max_frames: Frames | None = None,
        min_frames: Frames = 1,
        reference: ReferencePolicy = "mixed",
        dropout: bool = True,
        codebook_hash: str | None = None,
        vae_hash: str | None = None,
    ) -> None:
        check_made_for(shards, config, codebook_hash=codebook_hash, vae_hash=vae_hash)
        if max_frames is not None and (max_frames < 1 or max_frames % config.patch_size):
            raise UsageError(
                f"crop length: {max_frames} frames; expected a multiple of {config.patch_size}"
            )
        if reference not in REFERENCE_POLICIES:
            raise UsageError(
                f"reference policy '{reference}'; expected {', '.join(REFERENCE_POLICIES)}"
            )
        self.shards, self.config = shards, config
        self.vocabulary = vocabulary(config.frontend)
        self.max_frames, self.reference, self.dropout = max_frames, reference, dropout
        self.tracks = np.flatnonzero(shards.frames >= min_frames)
        if not len(self.tracks):
            raise SongBloomError(
                f"{shards.folder}: no song has {min_frames} frames", "Lower the shortest length."
            )

    def __len__(self) -> int:
        """Tracks in an epoch."""
        return len(self.tracks)

    @property
    def info(self) -> DatasetInfo:
        """What the dataset says of itself."""
        return self.shards.info

    def subset(
        self, tracks: Sequence[int] | np.ndarray, *, dropout: bool | None = None
    ) -> "Dataset":
        """The same over some of its tracks (0 <= track < len) alone, references included."""
        part = copy.copy(self)
        part.tracks = np.sort(self.tracks[np.asarray(tracks, dtype=np.int64)])
        part.dropout = self.dropout if dropout is None else dropout
        for name in ("fingerprint", "_with_clips"):
            part.__dict__.pop(name, None)
        return part

    @functools.cached_property
    def _with_clips(self) -> np.ndarray:
        """Numbers of the songs that can lend a reference, in order."""
        return self.tracks[self.shards.clips[self.tracks] > 0]

    @functools.cached_property
    def fingerprint(self) -> int:
        """A number that is another one for other content or other tracks, alike on all machines."""
        digest = hashlib.sha256(self.info.dataset_hash.encode())
        digest.update("\n".join(self.shards.ids).encode())
        digest.update(self.tracks.astype("<i8").data)
        return int.from_bytes(digest.digest()[:7], "big")

    def sample(self, track: int, *, epoch: int, seed: int) -> Sample:
        """The sample of a track (0 <= track < len) in an epoch.

        `SongBloomError` names a shard that turns out to be corrupt.
        """
        rng = np.random.default_rng([seed, epoch, track])
        own_seed = int(rng.integers(1 << 63))
        number = int(self.tracks[track])
        song = self.shards.read(number)
        crop = self._crop(song.num_frames, rng)
        everything, reference_only = rng.random(2) if self.dropout else (1.0, 1.0)
        conditions: Conditions = NULL_CONDITIONS
        begins: list[Seconds | None] = [None]
        if everything >= self.config.objective.condition_dropout:
            clip = Clip()
            if reference_only >= self.config.objective.reference_dropout:
                clip, crop = self._reference(song, number, crop, rng)
            conditions, begins = self._conditions(song, crop, clip)
        start, end = crop
        beats = [at for at in song.beats if at < frames_to_seconds(song.num_frames)]  # no clip's
        return Sample(
            key=song.id,
            start=start,
            sketch=torch.from_numpy(song.sketch[start:end]),
            latents=torch.from_numpy(song.latents[start:end]),
            conditions=conditions,
            ends=end == song.num_frames,
            next_symbol=next_symbols(begins, end - start),
            next_beat=frames_to_beats(beats, start, end - start + 1),
            tempo=60 / float(np.median(np.diff(beats))) if len(beats) > 1 else 0.0,
            seed=own_seed,
        )

    def _crop(self, frames: Frames, rng: np.random.Generator) -> Crop:
        """A window of `max_frames` that starts at a patch border; the last one ends with the song.

        So a window is shorter, by less than a patch, only where the song ends in it.
        """
        if self.max_frames is None or frames <= self.max_frames:
            return 0, frames
        patches = -(-(frames - self.max_frames) // self.config.patch_size)
        start = int(rng.integers(patches + 1)) * self.config.patch_size
        return start, min(start + self.max_frames, frames)

    def _conditions(
        self, song: TrainingSong, crop: Crop, clip: Clip
    ) -> tuple[Conditions, list[Seconds | None]]:
        """What the model is told, and when each symbol of it is sung, from the crop's start."""
        first, last = (frames_to_seconds(frames) for frames in crop)
        symbols = crop_lyrics(song.sections, first, last)
        known = [(symbol, at) for symbol, at in symbols if symbol in self.vocabulary]
        lyrics = LyricIds.from_tokens(
            self.vocabulary.encode(" ".join(symbol for symbol, _ in known)) if known else [],
            self.vocabulary,
            max_sentences=self.config.max_sentences,
        )
        begins = [None if at is None else at - first for _, at in known]
        begins = begins[: self.config.lyric_length]  # the model is told no more
        return Conditions(lyrics, *clip), begins

    def _reference(
        self, song: TrainingSong, number: int, crop: Crop, rng: np.random.Generator
    ) -> tuple[Clip, Crop]:
        """A clip as the policy wants it, of the other kind where there is none, or an empty one;
        and the crop, which makes room for its song's own clip."""
        coin, which, other = rng.random(3)
        wants_own = self.reference == "same" or (self.reference == "mixed" and coin < 0.5)
        stranger = self._another(number, other)
        if wants_own or stranger is None:
            index, room = clip_beside(song, crop, which, self.config.patch_size)
            if index is not None:
                return Clip.of_song(song, index), room
        if stranger is None:
            return Clip(), crop
        clips = self.shards.references(stranger)
        return Clip(torch.from_numpy(clips[int(which * len(clips))]).float()), crop

    def _another(self, number: int, draw: float) -> int | None:
        """A track with clips other than `number`, evenly by `draw` in [0, 1)."""
        own = int(np.searchsorted(self._with_clips, number))
        member = own < len(self._with_clips) and self._with_clips[own] == number
        count = len(self._with_clips) - int(member)
        if count == 0:
            return None
        choice = int(draw * count)
        return int(self._with_clips[choice + (member and choice >= own)])


def clip_beside(
    song: TrainingSong, crop: Crop, draw: float, patch_size: int
) -> tuple[int | None, Crop]:
    """One of the song's clips by `draw` in [0, 1), and what of the crop shares no frame with it.

    A clip that lies beside the crop leaves it whole; only where there is none, as in short songs,
    any clip will do and the crop keeps the longer part beside it. None where nothing is left.
    """
    length, places = song.references.shape[1], song.reference_starts
    parts = [_longest_beside(crop, at, at + length, patch_size) for at in places]
    left = [index for index, part in enumerate(parts) if part == crop]
    left = left or [index for index, (start, end) in enumerate(parts) if start < end]
    if not left:
        return None, crop
    index = left[int(draw * len(left))]
    return index, parts[index]


def _longest_beside(crop: Crop, begin: Frames, finish: Frames, patch_size: int) -> Crop:
    """The longer part of a crop before or behind [begin, finish), of whole patches from its start;
    behind it a part may end within a patch, where the crop does."""
    start, end = crop
    patches = max(0, min(begin, end) - start) // patch_size
    before = (start, end) if begin >= end else (start, start + patches * patch_size)
    after = (start + max(0, -(-(finish - start) // patch_size)) * patch_size, end)
    return max(before, after, key=lambda part: part[1] - part[0])


def crop_lyrics(
    sections: Sequence[SungSection], start: Seconds, end: Seconds
) -> list[tuple[str, Seconds | None]]:
    """What is sung from `start` to `end`: the symbols that a model is given, and when in the song
    each begins (None for marks, for lines whose phonemes have no known times, and then for tags).

    A phoneme counts where it begins, all those of a line without such times where the line's middle
    lies. Lines are joined by `.`, sections by `,`; a part that has no words is its tag once a
    second, and one whose words all lie outside its tag once. A tag begins with its section: so a
    rest before the next line is one thing, and the way to the song's end another.
    """
    symbols: list[tuple[str, Seconds | None]] = []
    timed = all(li.begins for section in sections for li in section.lines)
    for section in sections:
        lines = [sung for li in section.lines if (sung := _sung(li, start, end))]
        inside = min(section.end, end) - max(section.start, start)
        whole = start <= section.start and section.end <= end
        seconds = max(round(inside), int(whole))
        if not lines and seconds <= 0:
            continue
        symbols += [(",", None)] if symbols else []
        tags = range(1 if section.lines else seconds)
        first = max(section.start, start)
        symbols += [(f"[{section.tag}]", first + n if timed else None) for n in tags]
        for line in lines:
            symbols += [(".", None)] if line is not lines[0] else []
            symbols += line
    return symbols


def _sung(line: SungLine, start: Seconds, end: Seconds) -> list[tuple[str, Seconds | None]]:
    """The phonemes of a line that are sung from `start` to `end`, and when each begins."""
    phonemes = line.phonemes.split(" ")
    if line.begins:
        timed = zip(phonemes, line.begins, strict=True)
        return [(phoneme, at) for phoneme, at in timed if start <= at < end]
    inside = start <= (line.start + line.end) / 2 < end
    return [(phoneme, None) for phoneme in phonemes] if inside else []


def next_symbols(begins: Sequence[Seconds | None], frames: Frames) -> Tensor:
    """For each of `frames` + 1 frames, the first symbol that begins in it or later: what a model
    that is about to choose the frame has to look at. `[T + 1]` int64, NOTHING_NEXT for none.

    A symbol begins in the first frame whose centre it sounds at, as a sketch token tells what
    sounds at its centre. Symbols without a time are never looked at.
    """
    sung = [(_first_frame(at), index) for index, at in enumerate(begins) if at is not None]
    at_frames = np.array([at for at, _ in sung], dtype=np.int64)
    indices = np.array([index for _, index in sung] + [NOTHING_NEXT], dtype=np.int64)
    found = np.searchsorted(np.maximum.accumulate(at_frames), np.arange(frames + 1), side="left")
    return torch.from_numpy(indices[found])


def frames_to_beats(beats: Sequence[Seconds], start: Frames, frames: Frames) -> Tensor:
    """For each of `frames` frames from frame `start`, in how many frames the next beat falls: 0 in
    a beat's own, NOTHING_NEXT behind the last one. `[frames]` int64."""
    at = np.array([_first_frame(beat) for beat in beats], dtype=np.int64)
    here = np.arange(start, start + frames)
    found = np.searchsorted(at, here, side="left")
    following = np.append(at, -1)[found]
    return torch.from_numpy(np.where(found < len(at), following - here, NOTHING_NEXT))


def _first_frame(at: Seconds) -> Frames:
    """The first frame whose centre what begins at `at` sounds at."""
    return math.ceil(at * FRAME_RATE - 0.5)


def check_made_for(
    shards: Shards, config: ModelConfig, *, codebook_hash: str | None, vae_hash: str | None
) -> None:
    """`SongBloomError` when a dataset's tokens, latents or phonemes are not this model's."""
    folder, header = shards.folder, shards.info.header
    expected: dict[str, str | int] = {
        "vae_hash": vae_hash or header.vae_hash,
        "latent_dim": config.latent_dim,
        "frontend": config.frontend,
    }
    if config.sketch_vocab_size:  # a model without sketch does not look at it
        expected["codebook_hash"] = codebook_hash or header.codebook_hash
        expected["sketch_vocab_size"] = config.sketch_vocab_size
    for name, value in expected.items():
        own = getattr(header, name)
        if own != value:
            what, hint = _MISMATCH[name]
            hint = hint.format(
                folder=folder, key=name, own=own, wanted=value, preset=_READERS.get(str(own))
            )
            raise SongBloomError(f"{folder}: {what} {own}; the model has {value}", hint)


_READERS = {"release": "full_150s", "v1": "seedling"}  # a preset that reads a front end's phonemes
_CODECS = (
    "Name the model whose codecs made them: --codecs MODEL; or make them with this one's: "
    "songbloom prepare SONGS -o {folder} "
)
_SIZE = "Choose another --preset, or write {key} = {own} in the table [model]."
_MISMATCH = {
    "codebook_hash": (
        "sketch tokens were made with the codebook",
        _CODECS + "--tokenize-model MODEL",
    ),
    "sketch_vocab_size": ("the number of sketch tokens is", _SIZE),
    "vae_hash": ("latents were made with the VAE", _CODECS + "--vae-model MODEL"),
    "latent_dim": ("the number of latent channels is", _SIZE),
    "frontend": (
        "phonemes were made by the front end",
        "Type: songbloom prepare SONGS -o {folder} --frontend {wanted}; or choose a preset that "
        "reads what they are: --preset {preset}",
    ),
}
