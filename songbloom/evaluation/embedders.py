"""The full backends of `songbloom.evaluation.embeddings`, through the libraries they come with.

Weights are read from this machine alone: a folder or file that the protocol names, else the hub's
cache. Nothing is fetched unasked and nothing unpickled but tensors.
"""

import importlib.metadata
import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from songbloom.errors import MissingAssetError, SongBloomError
from songbloom.evaluation.embeddings import Embedder, Model, content_hash
from songbloom.stages import codecs, tools, tools_environment
from songbloom.units import Hz, Seconds

_REPOSITORIES = {
    "muq-mulan": "OpenMuQ/MuQ-MuLan-large",
    "clap": "laion/larger_clap_music",
    "encodec": "facebook/encodec_24khz",
}
_RATES: Mapping[str, Hz] = {
    "muq-mulan": 24_000,
    "clap": 48_000,
    "encodec": 24_000,
    "vggish": 16_000,
}
_WINDOW = 10  # seconds: of MuQ-MuLan and CLAP; of EnCodec what is encoded at once
_CLAP_HOP = 1  # second, as fadtk has it
_VGGISH_FILE = "vggish-10086976.pth"
_WEIGHTS = (".json", ".safetensors", ".bin", ".txt", ".model")
_PATIENCE: Seconds = 600  # with MuQ-MuLan, for one song


def model(metric: str, backend: str, named: str | None) -> Model:
    """A full backend with the model that is named, else the one of its name in the hub's cache."""

    def find() -> Path:
        if backend == "vggish":
            return _vggish_file(named)
        kind = {"muq-mulan": "MuQ-MuLan", "clap": "CLAP", "encodec": "EnCodec"}[backend]
        return codecs.local_folder(named or _REPOSITORIES[backend], f"a {kind} model")

    def describe() -> Mapping[str, Any]:
        library = _require(metric, backend)
        path = find()
        files = [path] if path.is_file() else [f for f in path.iterdir() if f.suffix in _WEIGHTS]
        return {**library, "model": content_hash(files)}

    def load() -> Embedder:
        _require(metric, backend)
        return _LOADERS[backend](find())

    return Model(backend, _RATES[backend], describe, load)


def _require(metric: str, backend: str) -> dict[str, str]:
    """The library of a backend and its version; `MissingAssetError` says how to get it."""
    if backend == "muq-mulan":
        if not tools_environment.imports_here("muq"):
            tools_environment.python("muq")
        return {"muq": tools_environment.pins("muq")["muq"]}
    library = "torchvggish" if backend == "vggish" else "transformers"
    if importlib.util.find_spec(library) is None:
        raise MissingAssetError(
            f"[{metric}] backend = {backend!r} needs {library}, which is not installed",
            "Type: pip install 'songbloom[eval]'",
        )
    return {library: importlib.metadata.version(library)}


def _mulan(folder: Path) -> Embedder:
    """MuQ-MuLan: windows end to end, the last filled up with the song's beginning, as its library
    does; the mean of a song's windows is what the library gives for the song."""
    options = {"mulan": str(folder.resolve()), "device": _device()}
    tool = tools.Tool("muq", options, timeout=_PATIENCE)

    def hear(mono: np.ndarray) -> np.ndarray:
        size = _WINDOW * _RATES["muq-mulan"]
        count = -(-len(mono) // size)
        clips = np.resize(mono, (count, size))
        return np.asarray(tool.call("embed_clips", {"clips": clips})["embeddings"])

    def read(text: str) -> np.ndarray:
        return np.asarray(tool.call("embed_text", {"text": text})["embeddings"])

    return Embedder(hear, read)


def _clap(folder: Path) -> Embedder:
    """CLAP: its own features of every window, none of which it has to cut."""
    import torch
    from transformers import AutoTokenizer, ClapFeatureExtractor, ClapModel

    clap: Any = _from_folder(ClapModel, folder).eval().to(_device())
    extractor = _from_folder(ClapFeatureExtractor, folder)
    rate = _RATES["clap"]
    if extractor.sampling_rate != rate or extractor.nb_max_samples != _WINDOW * rate:
        raise _odd(folder, "a CLAP model of 10 s at 48 kHz")

    def hear(mono: np.ndarray) -> np.ndarray:
        windows = _windows(mono, _WINDOW * rate, _CLAP_HOP * rate)
        return np.concatenate([_hear(window) for window in windows])

    @torch.inference_mode()
    def _hear(window: np.ndarray) -> np.ndarray:
        features = extractor(window, sampling_rate=rate, return_tensors="pt").to(clap.device)
        return _pooled(clap.get_audio_features(**features))

    @torch.inference_mode()
    def read(text: str) -> np.ndarray:
        tokens = _from_folder(AutoTokenizer, folder)([text], return_tensors="pt", truncation=True)
        return _pooled(clap.get_text_features(**tokens.to(clap.device)))

    return Embedder(hear, read)


def _encodec(folder: Path) -> Embedder:
    """EnCodec's encoder before its quantiser, ten seconds at a time."""
    import torch
    from transformers import EncodecModel

    rate = _RATES["encodec"]
    encodec: Any = _from_folder(EncodecModel, folder).eval().to(_device())
    if (encodec.config.sampling_rate, encodec.config.audio_channels) != (rate, 1):
        raise _odd(folder, "the EnCodec model of 24 kHz, one channel")

    @torch.inference_mode()
    def hear(mono: np.ndarray) -> np.ndarray:
        sound = torch.from_numpy(mono)[None, None].to(encodec.device)
        parts = [encodec.encoder(part)[0].T.cpu() for part in sound.split(_WINDOW * rate, dim=-1)]
        return np.asarray(torch.cat(parts).numpy())

    return Embedder(hear)


def _vggish(file: Path) -> Embedder:
    """VGGish's 128 numbers before the last ReLU: no PCA, nothing rounded to eight bits."""
    import torch
    from torchvggish.torchvggish import VGG, make_layers
    from torchvggish.vggish_input import waveform_to_examples

    vggish = VGG(make_layers(), postprocess=False)
    try:
        vggish.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    except Exception as error:
        raise _odd(file, "torchvggish's weights") from error
    vggish.embeddings = vggish.embeddings[:-1]
    vggish.eval().to(device := _device())

    @torch.inference_mode()
    def hear(mono: np.ndarray) -> np.ndarray:
        examples = waveform_to_examples(mono, _RATES["vggish"], return_tensor=False)
        windows = torch.from_numpy(examples).float()[:, None]
        return np.concatenate([vggish(part.to(device)).cpu().numpy() for part in windows.split(16)])

    return Embedder(hear)


_LOADERS: Mapping[str, Callable[[Path], Embedder]] = {
    "muq-mulan": _mulan,
    "clap": _clap,
    "encodec": _encodec,
    "vggish": _vggish,
}


def _windows(mono: np.ndarray, size: int, hop: int) -> np.ndarray:
    """Whole windows `[n, size]`; a sound that is shorter is repeated."""
    if len(mono) < size:
        return np.resize(mono, (1, size))
    return np.lib.stride_tricks.sliding_window_view(mono, size)[::hop]


def _pooled(output: Any) -> np.ndarray:
    """The embeddings: transformers 5 hands them over inside an output, 4 bare."""
    return np.asarray(getattr(output, "pooler_output", output).float().cpu().numpy())


def _from_folder(kind: Any, folder: Path) -> Any:
    """A transformers object of a folder's files, nothing fetched."""
    try:
        return kind.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise _odd(folder, f"a folder that {kind.__name__} reads") from error


def _vggish_file(named: str | None) -> Path:
    """The weights that are named, else those that torchvggish itself has fetched before."""
    import torch

    path = (
        Path(named).expanduser()
        if named
        else Path(torch.hub.get_dir(), "checkpoints", _VGGISH_FILE)
    )
    if not path.is_file():
        raise MissingAssetError(
            f"{path}: no such file; expected the weights of VGGish",
            f"Fetch {_VGGISH_FILE} from github.com/harritaylor/torchvggish/releases, and name it "
            "as model.",
        )
    return path


def _odd(path: Path, expected: str) -> SongBloomError:
    return SongBloomError(f"{path}: is not {expected}", "Fetch the model again, or name another.")


def _device() -> str:
    from songbloom.generation.device import choose_device

    return str(choose_device("auto"))
