"""SketchCodec: a song's mix -> sketch tokens, the phone and the pitch of every frame.

* One codebook with known meaning (`songbloom.model.sketch_symbols`): the codes are the answers of a
  small classifier that was taught the phones, notes and chords of synthetic songs.
* Two views of the mono signal: log-mel at 100 Hz (which phone) and a constant-Q-like spectrum,
  three bins a semitone at 25 Hz, stacked over harmonics (which note, which chord).
* A stack of ConvNeXt blocks at 25 Hz, then three heads: phone, note, chord.
* Convolutions only: a token depends on `halo` frames either side, so that a long file is tokenized
  in chunks with the tokens of the whole.

Shapes: B batch, T frames (25 Hz), M mel bands, Q constant-Q bins, S semitones, D dim.
"""

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from songbloom.errors import MissingAssetError, SongBloomError, UsageError
from songbloom.files import atomic_path, write_text
from songbloom.model import sketch_symbols
from songbloom.model.sketch_symbols import NUM_CHORDS, NUM_PHONES, NUM_PITCHES, encode_symbols
from songbloom.units import HOP, SAMPLE_RATE, Frames, samples_to_frames

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "weights.safetensors"

_FORMAT = "songbloom-sketch-codec"
_MEL_RATE = SAMPLE_RATE // 2  # 24 kHz: nothing above 12 kHz tells a phone
_CQT_RATE = SAMPLE_RATE // 4  # 12 kHz: partials of sung notes and chords, in cheap transforms
_MEL_HOPS = 4  # log-mel columns a frame
_MEL_WINDOW = 1024  # 43 ms
_CQT_WINDOW = 2048  # 171 ms: tells semitones apart from about 130 Hz upwards
_BINS_PER_SEMITONE = 3
_LOWEST_SEMITONE = 36  # MIDI C2, the lowest of the pitch map
_NUM_SEMITONES = 48
_HARMONICS = (0.5, 1, 2, 3, 4, 5)  # as in Bittner et al. 2017, "Deep salience representations"
_FLOOR = 1e-7  # of a full-scale sine's power: -70 dB
_CHUNK_FRAMES = 1500  # `encode` works on one minute at a time


@dataclass(frozen=True)
class SketchCodecConfig:
    """Sizes of a sketch codec. `dilations` has one entry per block, in frames."""

    mel_bands: int = 80
    mel_channels: int = 128
    pitch_channels: int = 16
    dim: int = 256
    expansion: int = 2
    kernel: int = 7
    dilations: tuple[int, ...] = (1, 1, 2, 4)

    def __post_init__(self) -> None:
        if self.kernel % 2 == 0:
            raise UsageError(f"sketch codec: kernel {self.kernel} is even; expected an odd number")
        for name in ("mel_bands", "mel_channels", "pitch_channels", "dim", "expansion"):
            if getattr(self, name) < 1:
                raise UsageError(f"sketch codec: {name} is {getattr(self, name)}; expected >= 1")


@dataclass(frozen=True)
class Features:
    """What the network hears: `mel` `[B, 4T, M]` at 100 Hz and `cqt` `[B, T, Q]` at 25 Hz.

    Both are natural-log power, scaled so that -70 dB of full scale is -2 and full scale 2.
    """

    mel: Tensor
    cqt: Tensor


@dataclass(frozen=True)
class Posteriors:
    """Log-probabilities a frame: `phone` `[B, T, 40]`, `note` `[B, T, 37]`, `chord` `[B, T, 25]`.

    `note` is given that there is a voice, `chord` whether there is one or not.
    """

    phone: Tensor
    note: Tensor
    chord: Tensor

    @property
    def tokens(self) -> Tensor:
        """Sketch tokens `[B, T]` int64: the likeliest phone, with its likeliest note or chord."""
        phone = self.phone.argmax(-1)
        pitch = torch.where(phone > 0, self.note.argmax(-1), self.chord.argmax(-1))
        return encode_symbols(phone, pitch)  # type: ignore[type-var]


class Block(nn.Module):
    """ConvNeXt block over time: depthwise convolution, norm, two-layer network, residual."""

    def __init__(self, config: SketchCodecConfig, dilation: int) -> None:
        super().__init__()
        reach = (config.kernel // 2) * dilation
        self.mix = nn.Conv1d(
            config.dim,
            config.dim,
            config.kernel,
            padding=reach,
            dilation=dilation,
            groups=config.dim,
        )
        self.norm = nn.LayerNorm(config.dim)
        self.up = nn.Linear(config.dim, config.expansion * config.dim)
        self.down = nn.Linear(config.expansion * config.dim, config.dim)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, T, D]` -> `[B, T, D]`."""
        y = self.mix(x.transpose(1, 2)).transpose(1, 2)  # [B, T, D]
        return x + self.down(functional.gelu(self.up(self.norm(y))))


class SketchCodec(nn.Module):
    """The sketch tokenizer. Make a trained one with `SketchCodec.load(folder)`."""

    sample_rate = SAMPLE_RATE
    hop = HOP
    vocab_size = sketch_symbols.NUM_CODES

    def __init__(self, config: SketchCodecConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or SketchCodecConfig()
        channels, dim = config.pitch_channels, config.dim
        self._add_transforms()
        self.mel_in = nn.Conv1d(config.mel_bands, config.mel_channels, 5, padding=2)
        self.mel_out = nn.Conv1d(config.mel_channels, dim, _MEL_HOPS, stride=_MEL_HOPS)
        self.harmonic_in = nn.Conv2d(
            len(_HARMONICS), channels, (1, 7), stride=(1, _BINS_PER_SEMITONE), padding=(0, 2)
        )
        self.harmonic_out = nn.Conv2d(channels, channels, (1, 5), padding=(0, 2))
        self.semitones = nn.Linear(channels * _NUM_SEMITONES, dim)
        self.salience = nn.Linear(channels, 1)
        self.blocks = nn.ModuleList(Block(config, dilation) for dilation in config.dilations)
        self.norm = nn.LayerNorm(dim)
        self.phone_head = nn.Linear(dim, NUM_PHONES)
        self.note_head = nn.Linear(dim, NUM_PITCHES)
        self.chord_head = nn.Linear(dim, NUM_CHORDS)

    @property
    def halo(self) -> Frames:
        """Frames either side that a token depends on, beyond its own: the receptive field."""
        blocks = sum(self.config.dilations) * (self.config.kernel // 2)
        # The mel stem reaches 2 columns and the constant-Q window 1.7 frames past a frame's border.
        return blocks + 2

    @property
    def codebook_hash(self) -> str:
        """Hex SHA-256 of the config and the weights: two codecs that may differ never share it."""
        digest = hashlib.sha256(_config_text(self.config).encode())
        for name, value in sorted(self.state_dict().items()):
            digest.update(name.encode())
            digest.update(value.detach().float().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    @torch.inference_mode()
    def encode(self, audio: Tensor) -> Tensor:
        """Sketch tokens `[B, T]` int64 of 48 kHz audio `[B, channels, samples]`.

        T = samples // 1920. Minutes are worked on one after another, with a halo, so that memory
        does not grow with the song. `ValueError` for another number of dimensions.
        """
        if audio.dim() != 3:
            raise ValueError(
                f"audio has shape {tuple(audio.shape)}; expected [B, channels, samples]"
            )
        frames = samples_to_frames(audio.shape[2])
        parts = [
            self._encode_chunk(audio, begin, min(begin + _CHUNK_FRAMES, frames))
            for begin in range(0, frames, _CHUNK_FRAMES)
        ]
        empty = torch.zeros(audio.shape[0], 0, dtype=torch.int64, device=audio.device)
        return torch.cat([empty, *parts], dim=1)

    def posteriors(self, audio: Tensor) -> Posteriors:
        """Log-probabilities a frame of 48 kHz audio `[B, channels, samples]`, in one piece."""
        return self(self.features(audio))

    def features(self, audio: Tensor) -> Features:
        """Log-mel and constant-Q spectra of 48 kHz audio `[B, channels, samples]`."""
        samples = samples_to_frames(audio.shape[2]) * HOP
        return self.spectra(self.halve(audio[..., :samples].mean(dim=1)))

    def halve(self, signal: Tensor) -> Tensor:
        """Low-pass and keep every second sample: `[B, samples]` -> `[B, samples // 2]`."""
        reach = self._half_band.shape[-1] // 2
        return functional.conv1d(
            functional.pad(signal[:, None], (reach, reach - 1)), self._half_band, stride=2
        )[:, 0]

    def spectra(self, signal: Tensor) -> Features:
        """Features of a mono signal that is already at 24 kHz, `[B, 960 * T]`."""
        mel = self._power(signal, self._mel_window, HOP // 2 // _MEL_HOPS) @ self._mel_bank
        cqt = self._power(self.halve(signal), self._cqt_window, HOP // 4) @ self._cqt_bank
        return Features(_log_scale(mel), _log_scale(cqt))

    def forward(self, features: Features) -> Posteriors:
        """Log-probabilities of the phone, the note and the chord of every frame."""
        pitch = self._pitch_map(features.cqt)  # [B, T, S, channels]
        x = self._phone_stem(features.mel) + self.semitones(pitch.flatten(2))  # [B, T, D]
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        note = self.note_head(x) + self._note_salience(pitch)
        return Posteriors(
            functional.log_softmax(self.phone_head(x), dim=-1),
            functional.log_softmax(note, dim=-1),
            functional.log_softmax(self.chord_head(x), dim=-1),
        )

    def save(self, folder: Path) -> None:
        """Write `config.json` and `weights.safetensors` (float16) into `folder`.

        Rounds this codec's own weights to float16 first, so that the codec in memory and the one on
        disk give the same tokens and have the same hash.
        """
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(parameter.half())
        weights = {name: value.half().contiguous() for name, value in self.state_dict().items()}
        with atomic_path(Path(folder) / WEIGHTS_FILE) as temporary:
            save_file(weights, temporary, metadata={"format": _FORMAT})
        write_text(Path(folder) / CONFIG_FILE, _config_text(self.config))

    @classmethod
    def load(cls, folder: Path, name: str | None = None) -> "SketchCodec":
        """The codec that `save` wrote, in float32, ready to encode.

        `name` is what its files are called in a model folder: `NAME.json`, `NAME.safetensors`.
        `MissingAssetError` when a file is not there, `SongBloomError` when one is damaged or the
        weights do not fit the config.
        """
        codec = cls(_read_config(Path(folder) / (f"{name}.json" if name else CONFIG_FILE)))
        path = Path(folder) / (f"{name}.safetensors" if name else WEIGHTS_FILE)
        _require(path)
        try:
            weights = {name: value.float() for name, value in load_file(path).items()}
            codec.load_state_dict(weights)
        except Exception as error:  # safetensors raises its own type for each kind of damage
            reason = str(error).splitlines()[0]
            raise SongBloomError(
                f"{path}: is damaged or does not fit its config ({reason})", _REINSTALL
            ) from error
        return codec.eval()

    def _encode_chunk(self, audio: Tensor, begin: Frames, end: Frames) -> Tensor:
        first = max(begin - self.halo, 0)
        window = audio[..., first * HOP : (end + self.halo) * HOP]
        return self.posteriors(window).tokens[:, begin - first : end - first]

    def _phone_stem(self, mel: Tensor) -> Tensor:
        x = functional.gelu(self.mel_in(mel.transpose(1, 2)))
        return self.mel_out(x).transpose(1, 2)  # [B, T, D]

    def _pitch_map(self, cqt: Tensor) -> Tensor:
        """`[B, T, Q]` -> `[B, T, S, channels]`: the same small network at every semitone."""
        width = _NUM_SEMITONES * _BINS_PER_SEMITONE
        base = _harmonic_offset(min(_HARMONICS))
        starts = [_harmonic_offset(harmonic) - base for harmonic in _HARMONICS]
        stack = torch.stack([cqt[..., start : start + width] for start in starts], dim=1)
        x = functional.gelu(self.harmonic_in(stack))
        x = functional.gelu(self.harmonic_out(x))
        return x.permute(0, 2, 3, 1)

    def _note_salience(self, pitch: Tensor) -> Tensor:
        """Logits `[B, T, 37]` read off the pitch map, the same way for every note."""
        first = sketch_symbols.LOWEST_NOTE - _LOWEST_SEMITONE
        notes = pitch[:, :, first : first + sketch_symbols.NUM_NOTES]
        return functional.pad(self.salience(notes)[..., 0], (1, 0))

    def _power(self, signal: Tensor, window: Tensor, hop: int) -> Tensor:
        """Power spectra `[B, columns, bins]`, windows centred on their hops."""
        before = (len(window) - hop) // 2
        padded = functional.pad(signal, (before, len(window) - hop - before))
        if not signal.shape[-1]:
            return signal.new_zeros(signal.shape[0], 0, len(window) // 2 + 1)
        spectrum = torch.fft.rfft(padded.unfold(1, len(window), hop) * window)
        return torch.view_as_real(spectrum).square().sum(-1)

    def _add_transforms(self) -> None:
        """Windows and filter banks: made from constants, so no part of the weights."""
        tables = {
            "_half_band": _half_band()[None, None],
            "_mel_window": _unit_window(_MEL_WINDOW),
            "_cqt_window": _unit_window(_CQT_WINDOW),
            "_mel_bank": _mel_bank(self.config.mel_bands),
            "_cqt_bank": _cqt_bank(),
        }
        for name, table in tables.items():
            self.register_buffer(name, torch.from_numpy(table.astype(np.float32)), persistent=False)

    _half_band: Tensor
    _mel_window: Tensor
    _cqt_window: Tensor
    _mel_bank: Tensor
    _cqt_bank: Tensor


def mel_frequencies(bands: int) -> np.ndarray:
    """Centre frequencies in Hz `[bands]` of the codec's mel bands (HTK scale, 50 Hz to 12 kHz)."""
    return _mel_edges(bands)[1:-1]


def cqt_frequencies() -> np.ndarray:
    """Centre frequencies in Hz `[Q]` of the constant-Q bins: three a semitone."""
    span = _harmonic_offset(max(_HARMONICS)) - _harmonic_offset(min(_HARMONICS))
    bins = np.arange(_NUM_SEMITONES * _BINS_PER_SEMITONE + span)
    # The middle one of a semitone's three bins is the semitone itself.
    semitones = (bins + _harmonic_offset(min(_HARMONICS)) - 1) / _BINS_PER_SEMITONE
    return 440.0 * 2.0 ** ((_LOWEST_SEMITONE + semitones - 69) / 12)


def _harmonic_offset(harmonic: float) -> int:
    """Bins from a note to its `harmonic`th partial."""
    return round(12 * _BINS_PER_SEMITONE * math.log2(harmonic))


def _log_scale(power: Tensor) -> Tensor:
    """Log power: `_FLOOR` becomes -2, full scale 2."""
    return torch.log(power + _FLOOR) / -math.log(_FLOOR) * 4 + 2


def _unit_window(size: int) -> np.ndarray:
    """Periodic Hann window under which a full-scale sine has power 1."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    return 2 * window / window.sum()


def _half_band(reach: int = 16) -> np.ndarray:
    """Windowed-sinc low-pass for halving a rate: -6 dB at 0.23 of the old rate, unit gain at 0."""
    n = np.arange(-reach, reach + 1)
    taps = np.sinc(0.46 * n) * (0.5 + 0.5 * np.cos(np.pi * n / (reach + 1)))
    return taps / taps.sum()


def _mel_edges(bands: int) -> np.ndarray:
    low, high = (2595 * np.log10(1 + hz / 700) for hz in (50.0, _MEL_RATE / 2))
    return 700 * (10 ** (np.linspace(low, high, bands + 2) / 2595) - 1)


def _mel_bank(bands: int) -> np.ndarray:
    """Triangles of unit area `[bins, bands]`."""
    edges = _mel_edges(bands)
    hz = np.arange(_MEL_WINDOW // 2 + 1)[:, None] * (_MEL_RATE / _MEL_WINDOW)
    rise = (hz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - hz) / (edges[2:] - edges[1:-1])
    return _unit_columns(np.clip(np.minimum(rise, fall), 1e-9, None))


def _cqt_bank() -> np.ndarray:
    """Gaussians of unit area `[bins, Q]`, as wide as a bin of the scale or of the transform."""
    centres = cqt_frequencies()
    step = _CQT_RATE / _CQT_WINDOW
    hz = np.arange(_CQT_WINDOW // 2 + 1)[:, None] * step
    width = np.maximum(centres * (2 ** (1 / 12 / _BINS_PER_SEMITONE) - 1), step) / 2
    return _unit_columns(np.exp(-0.5 * ((hz - centres) / width) ** 2))


def _unit_columns(bank: np.ndarray) -> np.ndarray:
    return bank / bank.sum(axis=0, keepdims=True)


_REINSTALL = "Install songbloom again, or train a codec with songbloom.training.sketch_codec.fit."


def _require(path: Path) -> None:
    if not path.is_file():
        raise MissingAssetError(f"{path}: no such file; expected a sketch codec there", _REINSTALL)


def _config_text(config: SketchCodecConfig) -> str:
    return json.dumps({"format": _FORMAT, **dataclasses.asdict(config)}, indent=1) + "\n"


def _read_config(path: Path) -> SketchCodecConfig:
    _require(path)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values.pop("format") != _FORMAT:
            raise KeyError("format")
        return SketchCodecConfig(**{**values, "dilations": tuple(values["dilations"])})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SongBloomError(f"{path}: is no sketch codec config ({error})", _REINSTALL) from error
