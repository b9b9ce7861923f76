"""The tables of the configuration: every setting of every command, with meaning and default.

These texts are the single source of the help of flags, of `config.toml.example` and of the man
page songbloom.toml(5). How values are put together is the business of `songbloom.config`.
"""

from dataclasses import dataclass, field, fields
from typing import Any


def _key(default: object, doc: str, **meta: object) -> Any:
    """A dataclass field with its meaning.

    `meta` may hold `unit`, `choices`, `minimum`, `maximum`, `flag` (its name on the command line),
    `unset` (what None means) and `example` (a value to show where the default is None).
    """
    return field(default=default, metadata={"doc": doc, **meta})


# what torch.Generator.manual_seed and numpy's generators both take
_SEED: dict[str, Any] = {"minimum": 0, "maximum": 2**63 - 1, "flag": "--seed"}


@dataclass(frozen=True)
class GenerateConfig:
    """What `songbloom generate` does when no flag says otherwise."""

    model: str = _key(
        "seedling",
        "Model to sing with: the name of an installed model, or a folder.",
        flag="--model",
    )
    seed: int = _key(0, "Seed of every random draw; the same seed gives the same song.", **_SEED)
    n_samples: int = _key(
        1, "How many songs to make of each item.", unit="songs", minimum=1, flag="--n-samples"
    )
    max_duration: float | None = _key(
        None,
        "Longest song.",
        unit="seconds",
        minimum=0.04,
        flag="--max-duration",
        unset="the model's own",
        example=60.0,
    )
    num_steps: int | None = _key(
        None,
        "Euler steps of the flow for each patch.",
        unit="steps",
        minimum=1,
        flag="--steps",
        unset="the model's own",
        example=36,
    )
    sketch_cfg_scale: float | None = _key(
        None,
        "Guidance of the sketch by lyrics and reference; 1.0 = off.",
        minimum=0.0,
        flag="--sketch-cfg",
        unset="the model's own",
        example=1.5,
    )
    latent_cfg_scale: float | None = _key(
        None,
        "Guidance of the latents; 1.0 = off.",
        minimum=0.0,
        flag="--latent-cfg",
        unset="the model's own",
        example=1.5,
    )
    temperature: float | None = _key(
        None,
        "Temperature of the sketch tokens; 0 = always the likeliest.",
        minimum=0.0,
        flag="--temperature",
        unset="the model's own",
        example=0.9,
    )
    top_k: int | None = _key(
        None,
        "Sketch tokens are drawn from this many likeliest ones; 0 = from all.",
        unit="tokens",
        minimum=0,
        flag="--top-k",
        unset="the model's own",
        example=200,
    )
    prompt_start: float = _key(
        0.0,
        "Where in the reference clip to begin.",
        unit="seconds",
        minimum=0.0,
        flag="--prompt-start",
    )
    rng: str = _key(
        "default",
        "Order of random draws: 'default' draws for each song alone, 'release' as the released "
        "program does.",
        choices=("default", "release"),
        flag="--rng",
    )
    format: str = _key(
        "flac",
        "File format of songs, where the name given with -o has no suffix of its own.",
        choices=("flac", "wav", "mp3", "ogg"),
        flag="--format",
    )
    device: str = _key(
        "auto",
        "Where to compute; 'auto' takes the first of cuda, mps, cpu that is there.",
        choices=("auto", "cpu", "cuda", "mps"),
        flag="--device",
    )
    dtype: str = _key(
        "float32",
        "Number format of the model while it sings.",
        choices=("float32", "bfloat16"),
        flag="--dtype",
    )
    batch_size: int = _key(
        1,
        "Songs made at the same time; it changes them by rounding at most.",
        unit="songs",
        minimum=1,
        flag="--batch-size",
    )


@dataclass(frozen=True)
class ModelsConfig:
    """Where models are kept."""

    folder: str | None = _key(
        None,
        "Folder that `songbloom pull` and `songbloom import` install into.",
        unset="`songbloom/models` in the user's data folder",
        example="/data/songbloom-models",
    )


@dataclass(frozen=True)
class HubConfig:
    """Hub repositories of the released weights; mirrors may be named in their place."""

    songbloom_full_150s: str = _key("CypressYang/SongBloom", "Repository of songbloom_full_150s.")
    songbloom_full_150s_dpo: str = _key(
        "CypressYang/SongBloom", "Repository of songbloom_full_150s_dpo."
    )
    songbloom_full_240s: str = _key(
        "CypressYang/SongBloom_long", "Repository of songbloom_full_240s."
    )
    vae: str = _key(
        "CypressYang/SongBloom",
        "Repository of the VAE and the vocabulary that all the releases share.",
    )
    revision: str | None = _key(
        None,
        "Branch, tag or commit to fetch.",
        flag="--revision",
        unset="the repository's main branch",
        example="main",
    )

    def repos(self) -> dict[str, str]:
        """Release name (and `vae`) -> repository id."""
        names = (f.name for f in fields(self) if f.name != "revision")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class SynthConfig:
    """How `songbloom synth` makes songs."""

    seed: int = _key(0, "Seed of the songs; the same seed gives the same songs.", **_SEED)
    language: str = _key(
        "en",
        "Language of the lyrics; 'mixed' has a Mandarin song in four.",
        choices=("en", "zh", "mixed"),
        flag="--language",
    )
    voices: str = _key(
        "espeak",
        "Speech engines whose voices sing: espeak, festival, piper, with commas between.",
        flag="--voices",
    )
    workers: int | None = _key(
        None,
        "Processes that work at the same time; they do not change the songs.",
        unit="processes",
        minimum=1,
        flag="--workers",
        unset="one a core",
        example=2,
    )


@dataclass(frozen=True)
class PrepareConfig:
    """How `songbloom prepare` makes a training set; 'auto' takes a full tool where one is named."""

    workers: int | None = _key(
        None,
        "Processes that work at the same time; they do not change the result.",
        unit="processes",
        minimum=1,
        flag="--workers",
        unset="one a core",
        example=4,
    )
    device: str = _key(
        "cpu", "Where models compute: cpu, cuda, or cuda:0,1 and so on.", flag="--device"
    )
    separate_backend: str = _key(
        "auto",
        "Splits songs into vocals and accompaniment.",
        choices=("auto", "seedling", "demucs"),
        flag="--separate-backend",
    )
    separate_model: str | None = _key(
        None,
        "Demucs model: the name of one that Demucs knows, or a folder with it.",
        flag="--separate-model",
        unset="the embedded one",
        example="htdemucs",
    )
    align_backend: str = _key(
        "auto",
        "Finds when each word is sung.",
        choices=("auto", "seedling", "pocketsphinx", "whisperx"),
        flag="--align-backend",
    )
    align_model: str | None = _key(
        None,
        "WhisperX's speech model: a name or a folder.",
        flag="--align-model",
        unset="the embedded one",
        example="large-v3",
    )
    align_ctc_model: str | None = _key(
        None,
        "WhisperX's alignment model: a name or a folder.",
        unset="WhisperX's own choice for the language",
        example="models/wav2vec2-en",
    )
    structure_backend: str = _key(
        "auto",
        "Finds sections; 'tags' takes those of the lyrics, 'similarity' listens.",
        choices=("auto", "tags", "similarity", "all-in-one"),
        flag="--structure-backend",
    )
    structure_model: str | None = _key(
        None,
        "Model of All-In-One: a folder, or a name that the hub's cache has.",
        flag="--structure-model",
        unset="the embedded one",
        example="models/all-in-one",
    )
    tokenize_backend: str = _key(
        "auto",
        "Makes sketch tokens; score: of a synthetic song, what its truth.json says.",
        choices=("auto", "seedling", "score", "muq"),
        flag="--tokenize-backend",
    )
    tokenize_model: str | None = _key(
        None,
        "Model folder with a sketch codec; or MuQ: a folder, or its name on the hub.",
        flag="--tokenize-model",
        unset="the embedded sketch codec",
        example="models/MuQ-large-msd-iter",
    )
    codebook: str | None = _key(
        None,
        "Codebook for MuQ's embeddings, made by `songbloom codebook fit`.",
        flag="--codebook",
        unset="none: MuQ cannot be used",
        example="codebook.safetensors",
    )
    vae_backend: str = _key(
        "auto",
        "Makes VAE latents.",
        choices=("auto", "seedling", "stable-audio"),
        flag="--vae-backend",
    )
    vae_model: str | None = _key(
        None,
        "Whose VAE: a model folder, an installed model, or a checkpoint beside its .json.",
        flag="--vae-model",
        unset="the embedded one",
        example="models/songbloom_full_150s",
    )
    frontend: str = _key(
        "v1",
        "Writes lyrics as phonemes: our models' front end (v1), or the released models'.",
        choices=("release", "v1"),
        flag="--frontend",
    )
    reference: float = _key(
        10.0,
        "Length of the reference clips; no more than a third of a song.",
        unit="seconds",
        minimum=0.64,
    )
    batch: int = _key(
        1,
        "Songs handed to a worker at a time; a kill loses those in hand.",
        unit="songs",
        minimum=1,
    )
    item_timeout: float = _key(
        30.0,
        "A stage that takes more than this many times a song's length, and a minute, is stopped.",
        minimum=0.1,
    )
    retries: int = _key(
        2, "Attempts after a passing error, such as a disk or a network that is away.", minimum=0
    )
    stems: str = _key(
        "keep",
        "What becomes of the separated sound once the training set is made.",
        choices=("keep", "delete"),
    )


@dataclass(frozen=True)
class FiltersConfig:
    """Which songs `songbloom prepare` leaves out; 0 turns a lower limit off."""

    min_duration: float = _key(
        10.0,
        "Shortest song: below this there is no room for a reference beside what is learnt.",
        unit="seconds",
        minimum=0.0,
    )
    max_duration: float = _key(
        600.0, "Longest song: above it are concerts and podcasts.", unit="seconds", minimum=1.0
    )
    min_rms: float = _key(
        -50.0, "Quietest song: below it is silence or noise.", unit="dBFS", maximum=0.0
    )
    max_silence: float = _key(
        0.5, "Largest share of silence (below -60 dBFS).", minimum=0.0, maximum=1.0
    )
    max_clipped: float = _key(
        0.01,
        "Largest share of samples in runs at full scale; a loud master has under 0.001.",
        minimum=0.0,
        maximum=1.0,
    )
    min_sample_rate: int = _key(
        16_000,
        "Lowest sample rate of a file: the model sings at 48 kHz, and telephone sound teaches "
        "dullness.",
        unit="Hz",
        minimum=0,
    )
    min_voice: float = _key(
        0.1, "Least share of a song in which somebody sings.", minimum=0.0, maximum=1.0
    )
    min_alignment: float = _key(
        0.5,
        "Least share of the words that must be heard: on 18 composed songs right lyrics had .76 or "
        "more, others .39 at most.",
        minimum=0.0,
        maximum=1.0,
    )
    min_line_confidence: float = _key(
        0.1,
        "Lines heard less surely than this are left out of the training set, the song stays.",
        minimum=0.0,
        maximum=1.0,
    )
    languages: str = _key(
        "any", "Languages to keep, with commas, such as 'en,zh'; 'any' keeps all."
    )
    lyrics: str = _key(
        "required",
        "Songs without lyrics: 'required' leaves them out, 'optional' keeps them as instrumental.",
        choices=("required", "optional"),
    )


@dataclass(frozen=True)
class TrainConfig:
    """How `songbloom train` trains; the defaults are the paper's where it names them."""

    data: str | None = _key(
        None,
        "Training set: a folder that `songbloom prepare` made.",
        flag="--data",
        unset="none, it must be named",
        example="dataset",
    )
    preset: str = _key(
        "full", "Sizes of the model, and defaults of this table that suit them.", flag="--preset"
    )
    seed: int = _key(
        0, "Seed of the weights and of everything that is drawn while training.", **_SEED
    )
    steps: int = _key(
        150_000,
        "Length of the run: the learning rate falls to zero at its end.",
        unit="steps",
        minimum=1,
        flag="--steps",
    )
    max_steps: int | None = _key(
        None,
        "Stop after this many steps in all; a later run may go on.",
        unit="steps",
        minimum=1,
        flag="--max-steps",
        unset="the whole run",
        example=1000,
    )
    batch_size: int = _key(
        128, "Songs a step, over all ranks.", unit="songs", minimum=1, flag="--batch-size"
    )
    micro_batch: int = _key(
        1,
        "Songs that a rank works on at the same time; it adds up gradients to the batch size.",
        unit="songs",
        minimum=1,
        flag="--micro-batch",
    )
    crop: float | None = _key(
        None,
        "Longest stretch of a song to learn at once, cut at patch borders.",
        unit="seconds",
        minimum=0.04,
        flag="--crop",
        unset="the longest song that the model sings",
        example=150.0,
    )
    learning_rate: float = _key(1e-4, "Highest learning rate.", minimum=0.0, flag="--lr")
    warmup_steps: int = _key(
        2000,
        "Steps in which the learning rate rises; then it falls as a cosine.",
        unit="steps",
        minimum=0,
        flag="--warmup-steps",
    )
    weight_decay: float = _key(
        0.1, "AdamW's decay; norms, embeddings and biases have none.", minimum=0.0
    )
    beta1: float = _key(0.9, "AdamW's first beta.", minimum=0.0, maximum=0.9999)
    beta2: float = _key(0.95, "AdamW's second beta.", minimum=0.0, maximum=0.99999)
    grad_clip: float = _key(1.0, "Longest gradient.", minimum=1e-9)
    ema_decay: float = _key(
        0.999,
        "Decay of the moving average of the weights, which is what is exported; 0 = no average.",
        minimum=0.0,
        maximum=0.999999,
    )
    dtype: str = _key(
        "auto",
        "Number format of matrix products; weights are kept in float32. 'auto' is bfloat16 on a "
        "GPU.",
        choices=("auto", "bfloat16", "float32"),
        flag="--dtype",
    )
    activation_checkpointing: bool = _key(
        False,
        "Compute activations again in the backward pass: a third more work, far less memory.",
        flag="--activation-checkpointing",
    )
    compile: bool = _key(False, "Compile the transformers' blocks with torch.compile.")
    gpus: int | None = _key(
        None,
        "GPUs in all, over all machines; 0 = train on the CPU.",
        unit="GPUs",
        minimum=0,
        flag="--gpus",
        unset="all of this machine",
        example=16,
    )
    cpu_ranks: int = _key(
        1, "Processes where there is no GPU.", unit="processes", minimum=1, flag="--cpu-ranks"
    )
    nodes: int = _key(1, "Machines.", unit="machines", minimum=1, flag="--nodes")
    zero: int = _key(
        0, "DeepSpeed's ZeRO stage; 0 = PyTorch's own engine.", minimum=0, maximum=3, flag="--zero"
    )
    shard: bool = _key(
        False,
        "Spread weights, gradients and optimizer of PyTorch's own engine over the ranks (FSDP2).",
        flag="--shard",
    )
    reading: float = _key(
        0.0,
        "Weight of training-only losses that teach where in the lyrics the song is, where the "
        "training set knows when each phoneme is sung; 0 = none, as in the paper.",
        minimum=0.0,
        flag="--reading",
    )
    listening: float = _key(0.0, "Weight of losses that teach to hear the reference.", minimum=0.0)
    counting: float = _key(0.0, "Weight of losses that teach to keep the beat.", minimum=0.0)
    factored_sketch: bool = _key(False, "Sketch tables are sums of phone and pitch (seedling's).")
    corrupt_sketch: float = _key(
        0.0, "Share of sketch tokens misheard while training.", minimum=0.0, maximum=1.0
    )
    weigh_channels: bool = _key(
        False, "Count each latent channel's error by how far it moves the sound (seedling VAE)."
    )
    reference: str = _key(
        "mixed",
        "Where the reference comes from: the song beside its crop, another song, either.",
        choices=("same", "other", "mixed"),
    )
    on_corrupt: str = _key(
        "error",
        "What to do with a shard that cannot be read.",
        choices=("error", "skip"),
        flag="--on-corrupt",
    )
    workers: int = _key(2, "Threads of each rank that read ahead.", unit="threads", minimum=0)
    save_every: int = _key(
        1000, "A checkpoint this often.", unit="steps", minimum=1, flag="--save-every"
    )
    keep: int = _key(
        3, "Latest checkpoints that are kept, beside the best.", unit="checkpoints", minimum=1
    )
    keep_every: int | None = _key(
        None,
        "Checkpoints of these steps are kept for ever.",
        unit="steps",
        minimum=1,
        unset="none",
        example=10_000,
    )
    validation_songs: int = _key(
        8,
        "Songs held out of training, a tenth of them at most; 0 = none, and no validation.",
        unit="songs",
        minimum=0,
        flag="--validation-songs",
    )
    validate_every: int = _key(1000, "Validation loss this often.", unit="steps", minimum=1)
    sample_every: int = _key(
        5000,
        "Sing the lyrics of held-out songs this often; 0 = never.",
        unit="steps",
        minimum=0,
        flag="--sample-every",
    )
    samples: int = _key(2, "Songs to sing each time.", unit="songs", minimum=1)
    codecs: str = _key(
        "seedling",
        "Model whose VAE and sketch codec made the training set; the new model gets them.",
        flag="--codecs",
    )
    init_from: str | None = _key(
        None,
        "Model to start from: the name of an installed one, or a folder.",
        flag="--init-from",
        unset="weights are drawn",
        example="songbloom_full_150s",
    )
    reset_sketch: bool = _key(
        False,
        "Draw sketch embedding and head anew: for a model whose codebook is unknown or another.",
        flag="--reset-sketch",
    )
    freeze: str | None = _key(
        None,
        "Parts that stay as they are: how their weights' names begin, between commas.",
        flag="--freeze",
        unset="nothing",
        example="sketch_lm,conditioner.lyrics",
    )
    lora: int | None = _key(
        None,
        "Train adapters of this rank on the sketch transformer in place of all weights.",
        unit="rank",
        minimum=1,
        flag="--lora",
        unset="all weights are trained",
        example=16,
    )
    tensorboard: bool = _key(True, "Write TensorBoard's files, where it is installed.")
    wandb: str | None = _key(
        None,
        "Project of Weights & Biases to log to.",
        flag="--wandb",
        unset="off",
        example="songbloom",
    )


@dataclass(frozen=True)
class Config:
    """Every table."""

    generate: GenerateConfig = GenerateConfig()
    models: ModelsConfig = ModelsConfig()
    hub: HubConfig = HubConfig()
    synth: SynthConfig = SynthConfig()
    prepare: PrepareConfig = PrepareConfig()
    filters: FiltersConfig = FiltersConfig()
    train: TrainConfig = TrainConfig()
