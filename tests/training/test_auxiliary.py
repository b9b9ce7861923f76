"""Help to read lyrics while training: who is told what, and that nothing of it is exported."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training.runs import (
    SEEDLING,
    Bench,
    assert_same_checkpoint,
    checkpoint,
    contents,
    here,
    make_bench,
    rows,
    trained,
    weights,
)

from songbloom.data.dataset import (
    NOTHING_NEXT,
    Dataset,
    crop_lyrics,
    frames_to_beats,
    next_symbols,
)
from songbloom.data.loader import Loader, collate
from songbloom.data.shards import open_shards
from songbloom.lyrics.vocabulary import V1_VOCABULARY
from songbloom.model.checkpoint import load_model
from songbloom.model.config import preset
from songbloom.model.patches import split_outputs
from songbloom.model.sketch_symbols import NUM_CODES, score_to_tokens
from songbloom.model.songbloom import Batch, FlowDraws, SongBloom
from songbloom.stages.assemble import _begins
from songbloom.synth.score import compose
from songbloom.training import auxiliary
from songbloom.training.auxiliary import (
    LONGEST_WAIT,
    SLOWEST,
    TEMPO_STEP,
    AssistedSongBloom,
    Factored,
    factor_tables,
    frames_until,
    hidden_positions,
    init_auxiliary,
    init_tables,
    plain_weights,
    predicting_positions,
)
from songbloom.training.step import batch_to_device, mishear
from songbloom.training.synthetic import sung_sections, write_dataset

MODEL = replace(preset("nano"), sketch_vocab_size=NUM_CODES, lyric_length=200)
READING = ("--reading", "0.3")


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Scores without sound, each phoneme with its time."""
    folder = tmp_path_factory.mktemp("scores") / "data"
    write_dataset(folder, songs=4, num_lines=2, codecs=SEEDLING, sound="none")
    return Dataset(open_shards(folder), MODEL, dropout=False)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Songs with latents, each heard after its own clip."""
    folder = tmp_path_factory.mktemp("clips") / "data"
    write_dataset(folder, songs=4, num_lines=2, codecs=SEEDLING)
    return Dataset(open_shards(folder), MODEL, reference="same", dropout=False)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return make_bench(tmp_path_factory.mktemp("bench"))


def _model(seed: int = 0) -> AssistedSongBloom:
    generator = torch.Generator().manual_seed(seed)
    model = AssistedSongBloom(MODEL, 0.3)
    model.init_weights(generator)
    init_auxiliary(model, generator)
    factor_tables(model)
    init_tables(model, generator)
    return model


def test_next_symbol_is_the_first_to_begin() -> None:
    """Against a plain search: at frame f, the first symbol of known time that begins in f or
    later, begin meaning to sound at its centre; never one without a time."""
    begins = [None, 0.1, 0.5, None, 0.52, 1.99]
    found = next_symbols(begins, 60).tolist()
    for frame in range(61):
        later = [i for i, at in enumerate(begins) if at is not None and at * 25 > frame - 0.5]
        assert found[frame] == (later[0] if later else NOTHING_NEXT)


def test_where_a_phone_begins_to_sound_it_is_looked_at() -> None:
    """The frame whose sketch token is the first of a phone looks at this phone, not behind it."""
    score = compose(6, 2, num_lines=4)
    phones, tokens = score.phones, score_to_tokens(score)
    looked = next_symbols([phone.start for phone in phones], len(tokens))
    for number, phone in enumerate(phones):
        centres = [f for f in range(len(tokens)) if phone.start <= (f + 0.5) / 25 < phone.end]
        if centres and phones[number - 1].start * 25 <= centres[0] - 0.5:
            assert looked[centres[0]] == number


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_phoneme_of_a_score_has_its_time(language: str) -> None:
    """The front end v1 says what is sung, sound by sound, and the times are the score's own."""
    score = compose(6, 2, num_lines=4, language=language)
    symbols = crop_lyrics(tuple(sung_sections(score, "v1")), 0, score.duration)
    sung = [(s, at) for s, at in symbols if s not in ",." and not s.startswith("[")]
    assert all(at is not None for _, at in sung)
    starts = {round(phone.start, 9) for phone in score.phones}
    assert {round(at, 9) for _, at in sung if at is not None} <= starts
    assert all(symbol in V1_VOCABULARY for symbol, _ in sung)


def test_samples_look_at_what_is_sung_next(scores: Dataset) -> None:
    """The symbol a frame looks at begins there or soon, and the song never looks back."""
    sample = scores.sample(0, epoch=0, seed=0)
    tokens = sample.conditions.lyrics.tokens
    looked = [int(tokens[i]) for i in sample.next_symbol.tolist() if i >= 0]
    letters = [V1_VOCABULARY.symbols[i] for i in dict.fromkeys(looked)]
    assert all(symbol[0].isupper() or symbol[0] == "[" for symbol in letters) and len(letters) > 8
    assert {letter[0] for letter in letters} > {"["}, "sections begin, too"
    assert (np.diff([i for i in sample.next_symbol.tolist() if i >= 0]) >= 0).all()


def test_frames_until_the_next_symbol() -> None:
    """Counted to the frame in which it begins; unknown where the crop ends first."""
    following = torch.tensor([[4, 4, 5, 7, 7, 7, -1, -1], [-1, 2, 2, 2, 3, 3, 3, 3]])
    expected = [[1, 0, 0, 2, 1, 0, -1, -1], [-1, 2, 1, 0, -1, -1, -1, -1]]
    assert frames_until(following).tolist() == expected
    far = torch.cat([torch.zeros(1, 200), torch.ones(1, 1)], dim=1).long()
    assert frames_until(far)[0, :3].tolist() == [LONGEST_WAIT - 1] * 3


def test_frames_until_the_next_beat() -> None:
    """Counted from any frame to the one in which a beat falls; nobody knows what follows the
    last."""
    assert frames_to_beats((0.0, 0.2, 0.42), 0, 13).tolist() == (
        [0, 4, 3, 2, 1, 0, 4, 3, 2, 1, 0, NOTHING_NEXT, NOTHING_NEXT]
    )
    assert frames_to_beats((0.0, 0.2, 0.42), 4, 3).tolist() == [1, 0, 4]
    assert frames_to_beats((), 0, 2).tolist() == [NOTHING_NEXT] * 2


def test_samples_know_their_beats(clips: Dataset) -> None:
    """A score's song has its tempo, and its clip the beats that it has in the song."""
    sample, score = clips.sample(0, epoch=0, seed=0), compose(0, 0, num_lines=2)
    assert sample.tempo == pytest.approx(score.tempo, abs=0.2)
    beats = sample.conditions.reference_beats
    assert beats is not None and sample.conditions.reference is not None
    assert len(beats) == len(sample.conditions.reference)
    period = 60 / score.tempo * 25
    for waits in (beats, sample.next_beat):
        steps = np.flatnonzero(waits.numpy() == 0)
        assert np.diff(steps) == pytest.approx(np.full(len(steps) - 1, period), abs=1)


def test_dropped_lyrics_are_not_looked_at(scores: Dataset) -> None:
    """A sample without conditions has nothing to read."""
    forgetful = replace(MODEL, objective=replace(MODEL.objective, condition_dropout=1.0))
    dataset = Dataset(scores.shards, forgetful)
    assert (dataset.sample(0, epoch=0, seed=0).next_symbol == NOTHING_NEXT).all()


def test_predicting_positions_are_those_split_off() -> None:
    """Positions counted from BOS are where `split_outputs` takes its predictions from."""
    numbered = torch.arange(1 + 3 * 17)[None, :, None]
    predicting, hidden = split_outputs(numbered, 16)
    assert predicting.flatten().tolist() == predicting_positions(48, 16).tolist()
    assert hidden.flatten().tolist() == hidden_positions(3, 16).tolist()


def test_plain_weights_are_the_trained_model() -> None:
    """The exported tables give the same logits as the factored ones, under the model's own keys."""
    model, plain = _model(), SongBloom(MODEL)
    plain.load_state_dict(plain_weights(dict(model.named_parameters())), strict=True)
    tokens = torch.tensor([3, NUM_CODES - 1, MODEL.eos_id])
    outputs = torch.randn(1, 5, MODEL.dim, generator=torch.Generator().manual_seed(0))
    for mine, theirs in (
        (model.sketch_lm.embedding(tokens), plain.sketch_lm.embedding(tokens)),
        (model.sketch_lm.head(outputs), plain.sketch_lm.head(outputs)),
    ):
        torch.testing.assert_close(mine, theirs)


def test_factors_couple_codes_that_share_a_phone() -> None:
    """A gradient on one code moves the codes of its phone and pitch, and no others."""
    factored = Factored(4)
    table = factored(torch.zeros(NUM_CODES + 2, 4))
    table[40].sum().backward()  # phone 1, pitch 3
    assert factored.phones.grad is not None and factored.pitches.grad is not None
    assert factored.phones.grad.abs().sum(1).nonzero().flatten().tolist() == [1]
    assert factored.pitches.grad.abs().sum(1).nonzero().flatten().tolist() == [3]


def test_reading_is_learnt(scores: Dataset) -> None:
    """Some steps on two songs teach the guided head where to look; the loss is not the sketch's."""
    torch.manual_seed(0)
    model = _model()
    samples = [scores.sample(track, epoch=0, seed=0) for track in range(2)]
    batch, draws = batch_to_device(collate(samples, MODEL.patch_size), MODEL, torch.device("cpu"))
    losses = _losses(model, batch, draws, steps=25)
    assert losses[-1] < 0.6 * losses[0]


def test_heads_are_drawn_to_the_next_symbol_and_then_to_the_beginning(
    scores: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attention that lies on the symbol sung next, and on BOS where none is, costs nothing; one
    place further on it costs what such attention weighs."""
    batch, draws = batch_to_device(
        collate([scores.sample(0, epoch=0, seed=0)], 16), MODEL, torch.device("cpu")
    )
    model = _model()
    model.predict(batch, draws)
    assert model.reader is not None and batch.next_symbol is not None
    following, inputs = batch.next_symbol[0], model._inputs()[0]
    bos = MODEL.reference_frames + MODEL.lyric_length
    wanted = torch.where(following < 0, bos, MODEL.reference_frames + following)
    assert (wanted == bos).any() and (wanted != bos).any()
    for off, cost in ((0, 0.0), (1, 30.0)):
        scored = torch.full((1, len(wanted), inputs.shape[1]), -30.0)
        scored[0, torch.arange(len(wanted)), wanted + off] = 0.0
        heard = scored, torch.zeros(1, inputs.shape[1], MODEL.head_dim)
        monkeypatch.setattr(auxiliary, "guided_head", lambda *_, heard=heard: heard)
        looked, _ = model.reader._looked(model._guided(0), inputs, batch.next_symbol)
        assert looked.detach().numpy() == pytest.approx(cost, abs=1e-3)


def test_three_layers_read(scores: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second, third and fourth, each by what it hears itself."""
    config = replace(MODEL, ar_layers=4)
    model = _drawn(AssistedSongBloom(config, 0.3))
    sample = scores.sample(0, epoch=0, seed=0)
    batch, draws = batch_to_device(collate([sample], 16), config, torch.device("cpu"))
    asked, heard = [], {}
    for layer in (1, 2, 3):
        attention: Any = model.sketch_lm.layers[layer]
        attention.attention.register_forward_pre_hook(
            lambda _, arguments, layer=layer: heard.__setitem__(layer, arguments[0])
        )
    look = auxiliary.guided_head
    monkeypatch.setattr(
        auxiliary, "guided_head", lambda *words: asked.append(words[1:3]) or look(*words)
    )
    reader = model.reader
    assert reader is not None
    recalled, recalling = reader._recalled, []
    monkeypatch.setattr(
        reader, "_recalled", lambda x, batch: recalling.append(x) or recalled(x, batch) + 1000
    )
    assert model(batch, draws).auxiliary.item() > 300, "what was sung before counts"
    assert torch.equal(recalling[0], heard[1])
    blocks: Any = model.sketch_lm.layers
    assert [attention for attention, _ in asked] == [block.attention for block in blocks[1:]]
    assert all(torch.equal(inputs, heard[n + 1]) for n, (_, inputs) in enumerate(asked))
    assert not torch.equal(heard[1], heard[2]) and not torch.equal(heard[2], heard[3])


def test_heads_tell_the_line_of_what_is_sung_next(scores: Dataset) -> None:
    """Its sentence as the lyrics count them; structure symbols are in none, and heads that are
    sure of the right one pay less than heads sure of another."""
    model = _model()
    batch, draws = batch_to_device(
        collate([scores.sample(0, epoch=0, seed=0)], 16), MODEL, torch.device("cpu")
    )
    reader = model.reader
    assert reader is not None and batch.next_symbol is not None
    lyrics, lines = batch.conditions[0].lyrics, reader._lines(batch)[0]
    expected = [int(lyrics.sentences[i]) if i >= 0 else 0 for i in batch.next_symbol[0].tolist()]
    assert lines.tolist() == [line or -1 for line in expected]
    assert {*lines.tolist()} == {-1, 1, 2}

    def cost(of: int) -> float:
        for brought in reader.brought:
            torch.nn.init.zeros_(brought.weight)
            torch.nn.init.zeros_(brought.bias)
            brought.bias.data[MODEL.lyric_vocab_size + 1 + of] = 20.0
        return model(batch, draws).auxiliary.item()

    ones, twos = (int((lines == line).sum()) for line in (1, 2))
    paid = 0.3 * 3 * 20.0 / (ones + twos)
    assert cost(3) - cost(1) == pytest.approx(ones * paid, rel=1e-3)
    assert cost(3) - cost(2) == pytest.approx(twos * paid, rel=1e-3)


def test_symbols_sung_before_are_named_where_the_next_is_predicted(scores: Dataset) -> None:
    """Heads that know one symbol where it was sung last, and say nothing elsewhere, pay nothing
    there: the inputs are read at the places that predict the frames, and no others."""
    batch, _ = batch_to_device(
        collate([scores.sample(0, epoch=0, seed=0)], 16), MODEL, torch.device("cpu")
    )
    reader = _model().reader
    assert reader is not None and batch.next_symbol is not None
    tokens, following = batch.conditions[0].lyrics.tokens.tolist(), batch.next_symbol[0].tolist()
    frames, names = len(following) - 1, MODEL.lyric_vocab_size + 1
    bos = MODEL.reference_frames + MODEL.lyric_length
    length = bos + 1 + frames // 16 * 17
    for back, head in enumerate(reader.sung, start=1):
        before = [tokens[at - back] if at >= back else -1 for at in following]
        known = [symbol for symbol in before if symbol >= 0]
        common = max({*known}, key=known.count)
        inputs = torch.full((1, length, MODEL.dim), -1.0)
        at = bos + predicting_positions(frames, 16)
        inputs[0, at] = torch.tensor([float(symbol == common) for symbol in before])[:, None]
        for other in reader.sung:
            torch.nn.init.zeros_(other.weight)
            torch.nn.init.zeros_(other.bias)
        head.weight.data[common, 0] = 30.0
        paid = 4 * reader._recalled(inputs, batch).item() - 3 * np.log(names)
        missed = 1 - known.count(common) / len(known)
        assert 0 < missed < 1 and paid == pytest.approx(missed * np.log(names), rel=1e-4)


def test_behind_the_last_symbol_nothing_is_named(scores: Dataset) -> None:
    """There the song may end, so this too has a name, up to the song's end and not beyond."""
    batch, _ = batch_to_device(
        collate([scores.sample(0, epoch=0, seed=0)], 16), MODEL, torch.device("cpu")
    )
    reader = _model().reader
    assert reader is not None and batch.next_symbol is not None
    ids = reader._ids(batch)[0]
    length, nothing = int(batch.lengths[0]), MODEL.lyric_vocab_size
    ended = (batch.next_symbol[0] < 0)[: length + 1]
    assert ended.any() and (ids[: length + 1][ended] == nothing).all()
    assert (ids[: length + 1][~ended] < nothing).all() and (ids[length + 1 :] == -1).all()


def test_listening_is_learnt(clips: Dataset) -> None:
    """Some steps on two songs teach the hidden vectors what the reference sounds like and its place
    in the prefix which notes it plays: less than any constant answer would cost."""
    torch.manual_seed(0)
    model = _listening(clips)
    batch, draws = _pair(clips)
    losses = _losses(model, batch, draws, steps=40)
    assert losses[-1] < 0.5 * losses[0]
    references = [c.reference for c in batch.conditions if c.reference is not None]
    means = torch.stack([reference.mean(dim=0) for reference in references])
    assert model.listener is not None
    told = model.listener.sound(model.predict(batch, draws).hidden).mean(dim=1)
    distances = torch.cdist(told, means)
    assert distances.argmin(dim=1).tolist() == [0, 1], "each song tells its own reference"


def test_counting_is_learnt(clips: Dataset) -> None:
    """Some steps on two songs teach outputs and reference to tell the beat and each its tempo."""
    torch.manual_seed(0)
    model = _counting(clips)
    batch, draws = _pair(clips)
    losses = _losses(model, batch, draws, steps=60)
    assert losses[-1] < 0.6 * losses[0]
    assert model.counter is not None and batch.tempo is not None
    told = model.counter.tempo(model.predict(batch, draws).hidden).mean(dim=1).argmax(dim=1)
    assert SLOWEST * TEMPO_STEP ** told.double() == pytest.approx(batch.tempo.double(), rel=0.06)


def test_without_beats_nothing_is_counted(clips: Dataset) -> None:
    """Songs of which nobody knows the beat add nothing."""
    batch, draws = _pair(clips)
    assert batch.next_beat is not None and batch.tempo is not None
    strange = replace(
        batch,
        next_beat=torch.full_like(batch.next_beat, NOTHING_NEXT),
        tempo=torch.zeros_like(batch.tempo),
        conditions=[replace(c, reference_beats=None) for c in batch.conditions],
    )
    assert _counting(clips)(strange, draws).auxiliary == 0


def test_listening_hears_the_reference_alone(clips: Dataset) -> None:
    """Without references it adds nothing; a clip whose notes nobody knows is still told of."""
    model = _listening(clips)
    batch, draws = _pair(clips)
    whole = model(batch, draws).auxiliary
    deaf = replace(batch, conditions=[replace(c, reference=None) for c in batch.conditions])
    assert model(deaf, draws).auxiliary == 0
    strange = [replace(c, reference_sketch=None) for c in batch.conditions]
    assert 0 < model(replace(batch, conditions=strange), draws).auxiliary < whole


def _losses(model: AssistedSongBloom, batch: Batch, draws: FlowDraws, steps: int) -> list[float]:
    """The auxiliary loss of every step that minimises it alone."""
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(steps):
        found = model(batch, draws)
        optimizer.zero_grad()
        found.auxiliary.backward()
        optimizer.step()
        losses.append(found.auxiliary.item())
    return losses


def _listening(clips: Dataset) -> AssistedSongBloom:
    return _drawn(AssistedSongBloom(clips.config, reading=0.0, listening=1.0))


def _counting(clips: Dataset) -> AssistedSongBloom:
    return _drawn(AssistedSongBloom(clips.config, reading=0.0, counting=1.0))


def _drawn(model: AssistedSongBloom) -> AssistedSongBloom:
    model.init_weights(torch.Generator().manual_seed(0))
    init_auxiliary(model, torch.Generator().manual_seed(1))
    return model


def _pair(clips: Dataset) -> tuple[Batch, FlowDraws]:
    samples = [clips.sample(track, epoch=0, seed=0) for track in range(2)]
    return batch_to_device(collate(samples, 16), clips.config, torch.device("cpu"))


def test_without_times_nothing_is_added(scores: Dataset) -> None:
    """Songs whose phonemes have no times give the paper's losses alone."""
    sample = replace(
        scores.sample(0, epoch=0, seed=0),
        next_symbol=torch.full((len(scores.sample(0, epoch=0, seed=0).sketch) + 1,), NOTHING_NEXT),
    )
    batch, draws = batch_to_device(collate([sample], 16), MODEL, torch.device("cpu"))
    found = _model()(batch, draws)
    assert found.auxiliary == 0
    assert found.total == found.sketch + MODEL.objective.flow_weight * found.flow


def test_a_share_of_tokens_is_misheard_the_same_each_time(scores: Dataset) -> None:
    """The share is as asked, drawn from each song's own seed, whatever else is in the batch."""
    micro_batch = next(iter(Loader(scores, global_batch=2, micro_batch=2)))[0]
    heard = mishear(micro_batch, MODEL, 0.2)
    share = (heard != micro_batch.batch.sketch).float().mean()
    assert 0.1 < share < 0.3
    assert torch.equal(heard, mishear(micro_batch, MODEL, 0.2))


@pytest.mark.parametrize("help", ["reading", "listening", "counting"])
def test_a_run_with_help_stops_and_goes_on(bench: Bench, help: str, tmp_path: Path) -> None:
    """A paused run ends in the bytes of a whole one, and exports a plain model."""
    (tmp_path / "help.toml").write_text(f"{bench.config.read_text()}{help} = 0.3\n")
    bench, more = Bench(tmp_path / "help.toml", bench.data), ("--steps", 4)
    whole, parts = tmp_path / "whole" / "run", tmp_path / "parts" / "run"
    trained(bench.words(whole, *more))
    trained(bench.words(parts, *more, "--max-steps", 2))
    trained(bench.words(parts, *more))
    assert rows(whole) == rows(parts)
    ours, theirs = contents(whole / "model"), contents(parts / "model")
    assert ours["model.safetensors"] == theirs["model.safetensors"]
    assert_same_checkpoint(checkpoint(whole), checkpoint(parts))
    assert not any(name.startswith(("reader", "listener")) for name in weights(whole))
    assert sum(row.get("auxiliary_loss", 0.0) for row in rows(whole)) > 0


@pytest.fixture(scope="module")
def reader(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in the manner of `seedling_read`: no reference, no flow, all the help there is."""
    folder = tmp_path_factory.mktemp("reader")
    config = bench.config.read_text().replace("reference_frames = 25", "reference_frames = 0")
    config += "factored_sketch = true\ncorrupt_sketch = 0.1\n"
    config += "[model.objective]\nflow_weight = 0.0\ncondition_dropout = 0.0\n"
    (folder / "read.toml").write_text(config)
    words = Bench(folder / "read.toml", bench.data).words(folder / "run", "--steps", 3, *READING)
    trained(words)
    assert all(row["flow_loss"] == 0 for row in rows(folder / "run"))
    assert sum(row.get("auxiliary_loss", 0.0) for row in rows(folder / "run")) > 0
    return folder / "run"


def test_what_helped_to_read_is_not_exported(reader: Path, tmp_path: Path) -> None:
    """The model that comes out of the checkpoint is the plain one that the training wrote."""
    trained(["export", reader, "-o", tmp_path / "model"])
    ours, theirs = contents(reader / "model"), contents(tmp_path / "model")
    assert ours["model.safetensors"] == theirs["model.safetensors"]
    model = load_model(tmp_path / "model", device=torch.device("cpu"))
    assert model.songbloom.state_dict().keys() == SongBloom(model.config).state_dict().keys()


def test_a_model_that_reads_goes_on_to_sing(bench: Bench, reader: Path, tmp_path: Path) -> None:
    """Its weights begin a run with references and flow, and such a run says what differs."""
    words = bench.words(tmp_path / "run", "--steps", 2, "--init-from", reader / "model")
    ran = trained(words)
    assert "reference_frames 0" in ran.err
    assert all(row["flow_loss"] > 0 for row in rows(tmp_path / "run"))


def test_the_presets_of_the_embedded_models_lessons_are_one_model() -> None:
    """Each takes the weights of the one before: only room, objective and sampling differ."""
    sing = preset("seedling").to_dict()
    for lesson, others in (
        ("read", {"reference_frames", "objective", "sampling"}),
        ("follow", {"objective"}),
        ("paint", {"objective"}),
    ):
        values = preset(f"seedling_{lesson}").to_dict()
        assert {key for key in sing if values[key] != sing[key]} == others


def test_reading_refuses_what_hides_layers(bench: Bench, tmp_path: Path) -> None:
    """Recomputed activations cannot be looked into; the error says so."""
    ran = here(bench.words(tmp_path / "run", *READING, "--activation-checkpointing"))
    assert ran.code == 2 and "--activation-checkpointing" in ran.err


def test_aligned_words_tell_when_phonemes_begin() -> None:
    """Prepared songs have times of words: phonemes lie evenly in them; a word that was not heard
    leaves the line without times."""
    words = [
        {"text": "hello", "start": 1.0, "end": 2.0},
        {"text": "world", "start": 2.0, "end": 4.0},
    ]
    begins = _begins(words, "HH AH0 L OW1 W ER1 L D", "v1")
    assert begins == (1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 3.5)
    assert _begins([words[0], words[1] | {"start": None}], "HH AH0 L OW1 W ER1 L D", "v1") == ()
