"""A capture stores what the teacher computes, survives a kill, and gives the same bytes every time."""

import json
import os
import random
import signal
import time
from itertools import islice
from pathlib import Path
from typing import Any, Dict, List, Set, Tuple

import numpy as np
import pytest
import torch
from allennlp.common.checks import ConfigurationError
from allennlp.data import Batch, Vocabulary
from allennlp.models.archival import load_archive

from structkd_plugin.readers.sentence_key import sentence_key
from structkd_plugin.teacher.capture import CapturedTeacher, CaptureSummary, Source, capture, shard_sizes
from structkd_plugin.teacher.sources.resolve import teacher_of_archive
from structkd_plugin.teacher.store import TeacherStore
from structkd_plugin.teacher.writer import TeacherStoreWriter

from ..children import ended, fork
from .training import LABELS, load_teacher, make_archive, write_corpus


@pytest.fixture(scope="module")
def teacher(archive: Path) -> CapturedTeacher:
    return load_teacher(archive)


def content(path: Path) -> Dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


def captured(teacher: CapturedTeacher, output: Path, sources: List[Source], **options: Any) -> CaptureSummary:
    return capture(teacher, sources, str(output), quiet=True, **{"batch_size": 4, "sentences_per_shard": 6, **options})


def sources_of(data: Path) -> List[Source]:
    return [Source(str(data / f"{language}.train.conll"), language) for language in ("en", "de")]


def emissions_one_by_one(teacher: CapturedTeacher, source: Source) -> Dict[str, np.ndarray]:
    """What the model says of each sentence, computed without the code under test."""
    found = {}
    for sentence in teacher.reader.sentences({source.language: [source.path]}):
        instance = teacher.reader.text_to_instance(sentence.words, language=sentence.language)
        teacher.reader.apply_token_indexers(instance)
        batch = Batch([instance])
        batch.index_instances(teacher.model.vocab)
        with torch.no_grad():
            emissions = teacher.model.eval()(**batch.as_tensor_dict())["emissions"][0].numpy()
        found[sentence_key(sentence.language, sentence.words)] = emissions
    return found


class TestContent:
    @pytest.mark.parametrize(("encoding", "tolerance"), [("float32", 1e-6), ("float16", 2e-3)])
    def test_emissions_are_the_models(
        self, teacher: CapturedTeacher, data: Path, tmp_path: Path, encoding: str, tolerance: float
    ) -> None:
        captured(teacher, tmp_path, sources_of(data), encoding=encoding)
        store = TeacherStore.open(str(tmp_path))
        assert len(store) == 32
        for source in sources_of(data):
            for key, emissions in emissions_one_by_one(teacher, source).items():
                record = store.get(key).emissions
                assert record.dtype == encoding
                np.testing.assert_allclose(record, emissions, atol=tolerance)

    def test_it_says_whose_it_is(self, teacher: CapturedTeacher, data: Path, tmp_path: Path) -> None:
        summary = captured(teacher, tmp_path, sources_of(data))
        store = TeacherStore.open(str(tmp_path))
        assert sorted(store.labels) == sorted(LABELS)
        assert list(store.labels) == teacher.model.labels
        assert (store.kind, store.label_encoding, store.languages) == ("potentials", "BIO", ("de", "en"))
        assert summary[:5] == (32, summary.words, {"en": 16, "de": 16}, 0, 0)
        assert summary.bytes_on_disk == sum(map(len, content(tmp_path).values()))
        manifest = json.loads((tmp_path / "manifest.main.json").read_text())
        assert manifest["sentences"] == {"en": 16, "de": 16}
        assert sum(manifest["words"].values()) == summary.words
        assert manifest["reader"] == {"type": "structkd_column", "scheme": "BIO"}

    def test_tables_are_the_models(self, teacher: CapturedTeacher, data: Path, tmp_path: Path) -> None:
        captured(teacher, tmp_path, sources_of(data))
        for name, table in TeacherStore.open(str(tmp_path)).tables._asdict().items():
            assert torch.equal(table, getattr(teacher.model.crf, name).detach()), name

    def test_a_teacher_trained_under_constraints_forbids_what_they_forbid(self, data: Path, tmp_path: Path) -> None:
        teacher = load_teacher(make_archive(tmp_path / "archive", data, constraints="everywhere"))
        captured(teacher, tmp_path / "store", sources_of(data)[:1])
        tables = TeacherStore.open(str(tmp_path / "store")).tables
        outside, inside, begin = (teacher.model.labels.index(label) for label in ("O", "I-PER", "B-PER"))
        assert tables.transitions[outside, inside] == tables.start_transitions[inside] == -torch.inf
        allowed = teacher.model.crf.transitions[begin, inside]
        assert torch.equal(tables.transitions[begin, inside], allowed.detach())

    def test_a_softmax_tagger_gives_log_probabilities(self, data: Path, tmp_path: Path) -> None:
        teacher = load_teacher(make_archive(tmp_path / "archive", data, transitions="none"))
        captured(teacher, tmp_path / "store", sources_of(data)[:1], encoding="float32")
        store = TeacherStore.open(str(tmp_path / "store"))
        assert store.kind == "log_probabilities"
        assert not any(table.any() for table in store.tables)
        for record in store.get_batch(list(store.keys())):
            np.testing.assert_allclose(np.exp(record.emissions).sum(axis=1), 1.0, rtol=1e-5)

    def test_dropout_is_off(self, data: Path, tmp_path: Path) -> None:
        teacher = load_teacher(make_archive(tmp_path / "archive", data, dropout=0.9))
        teacher.model.train()
        captured(teacher, tmp_path / "a", sources_of(data))
        captured(teacher, tmp_path / "b", sources_of(data))
        assert content(tmp_path / "a") == content(tmp_path / "b")

    def test_sentences_count_once(self, teacher: CapturedTeacher, data: Path, tmp_path: Path) -> None:
        summary = captured(teacher, tmp_path, sources_of(data) + sources_of(data)[:1])
        assert (summary.sentences, summary.duplicates) == (32, 16)
        assert "32 sentences (de 16, en 16; " in str(summary)
        assert "16 duplicates skipped" in str(summary)

    def test_globs_and_the_readers_own_language(self, teacher: CapturedTeacher, data: Path, tmp_path: Path) -> None:
        captured(teacher, tmp_path, [Source(str(data / "*.train.conll"))])
        assert TeacherStore.open(str(tmp_path)).languages == ("und",)

    def test_another_reader_with_the_teachers_indexers(self, archive: Path, data: Path, tmp_path: Path) -> None:
        text = tmp_path / "raw.txt"
        text.write_text("Ada sleeps\nwhy\n")
        overrides = {"type": "structkd_plain_text", "pretokenized": True}
        teacher = teacher_of_archive(load_archive(str(archive)), overrides)
        assert captured(teacher, tmp_path / "store", [Source(str(text), "en")]).sentences == 2
        # It is the same teacher, so that the store may have both.
        captured(load_teacher(archive), tmp_path / "store", sources_of(data))
        store = TeacherStore.open(str(tmp_path / "store"))
        assert store.contains([sentence_key("en", ["Ada", "sleeps"])]).all()
        assert len(store) == 34


class TestFingerprint:
    def test_it_is_of_the_teacher_not_of_the_archive(self, archive: Path, data: Path, tmp_path: Path) -> None:
        original = load_teacher(archive).describe("float16")
        assert load_teacher(make_archive(tmp_path / "again", data)).describe("float16") == original
        assert load_teacher(make_archive(tmp_path / "other", data, seed=2)).describe("float16") != original
        overrides = {"dataset_reader.token_indexers": {"tokens": {"type": "single_id", "lowercase_tokens": True}}}
        assert load_teacher(archive, **overrides).describe("float16") != original
        overrides = {"dataset_reader.max_words": 9, "dataset_reader.long_sentences": "skip"}
        assert load_teacher(archive, **overrides).describe("float16") == original

    def test_the_vocabulary_belongs_to_it(self, archive: Path) -> None:
        teacher = load_teacher(archive)
        original = teacher.describe("float16")
        teacher.model.vocab = Vocabulary.from_files(str(archive / "vocabulary"))
        assert teacher.describe("float16") == original
        teacher.model.vocab.add_token_to_namespace("unheard", "tokens")
        assert teacher.describe("float16") != original


class TestShardSizes:
    def test_a_large_store_has_few_and_a_kill_loses_little(self) -> None:
        done = shards = 0
        for size in shard_sizes():
            assert size <= max(2048, 0.032 * done)
            shards, done = shards + 1, done + size
            if done >= 10_000_000:
                break
        # As many as a process with the usual limit of 1,024 files holds open.
        assert shards <= 512

    def test_the_first_shard_is_full_before_the_second_begins(
        self, teacher: CapturedTeacher, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("structkd_plugin.teacher.capture._FIRST_SHARD", 2)
        monkeypatch.setattr("structkd_plugin.teacher.capture._LARGEST_SHARD", 8)
        monkeypatch.setattr("structkd_plugin.teacher.capture._SHARDS_OF_A_SIZE", 2)
        captured(teacher, tmp_path, sources_of(data), sentences_per_shard=None)
        shards = json.loads((tmp_path / "manifest.main.json").read_text())["shards"]
        assert [shard["sentences"] for shard in shards] == [2, 2, 4, 4, 8, 8, 4]

    def test_given_sizes_stay(self) -> None:
        assert list(islice(shard_sizes(5), 200)) == [5] * 200


class TestGoingOn:
    def test_two_captures_are_the_same_bytes(self, teacher: CapturedTeacher, data: Path, tmp_path: Path) -> None:
        for name in ("a", "b"):
            captured(teacher, tmp_path / name, sources_of(data))
        assert content(tmp_path / "a") == content(tmp_path / "b")

    def test_nothing_is_computed_twice(
        self, teacher: CapturedTeacher, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        captured(teacher, tmp_path, sources_of(data))
        monkeypatch.setattr(CapturedTeacher, "records", None)
        summary = captured(teacher, tmp_path, sources_of(data))
        assert (summary.sentences, summary.already_there) == (32, 32)

    def test_more_files_are_added(
        self, teacher: CapturedTeacher, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture
    ) -> None:
        captured(teacher, tmp_path, sources_of(data)[:1])
        capture(teacher, sources_of(data), str(tmp_path), quiet=False)
        assert "16 of 32 sentences were already there" in capsys.readouterr().out
        assert len(TeacherStore.open(str(tmp_path))) == 32

    def test_batches_do_not_depend_on_what_is_there(
        self, teacher: CapturedTeacher, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Their composition changes the last bits of what is computed."""
        computed: List[Tuple[str, ...]] = []
        original = CapturedTeacher.records

        def noted(self: CapturedTeacher, sentences: Any) -> Any:
            computed.append(tuple(sentence.words[0] for sentence in sentences))
            return original(self, sentences)

        monkeypatch.setattr(CapturedTeacher, "records", noted)
        captured(teacher, tmp_path / "whole", sources_of(data))
        whole, computed = computed, []
        captured(teacher, tmp_path / "in parts", sources_of(data)[:1])
        computed = []
        captured(teacher, tmp_path / "in parts", sources_of(data))
        assert computed
        assert set(computed) < set(whole)
        # Of the window that both files share, only what was missing is written.
        assert len(TeacherStore.open(str(tmp_path / "in parts"))) == 32

    @pytest.mark.parametrize(("seed", "k_best"), [(1, 0), (2, 0), (3, 0), (4, 3), (5, 3)])
    def test_a_kill_loses_nothing_and_changes_nothing(
        self, teacher: CapturedTeacher, data: Path, tmp_path: Path, seed: int, k_best: int
    ) -> None:
        captured(teacher, tmp_path / "whole", sources_of(data), k_best=k_best)
        draw = random.Random(seed)
        kills = 0
        for shards in sorted(draw.sample(range(6), 3)):
            child = fork(
                lambda: captured(teacher, tmp_path / "killed", sources_of(data), k_best=k_best).sentences == 32
            )
            while len(_committed(tmp_path / "killed")) < shards:
                assert not ended(child) or len(_committed(tmp_path / "killed")) >= shards
                time.sleep(0.001)
            time.sleep(draw.random() * 0.02)
            committed = _committed(tmp_path / "killed")
            os.kill(child, signal.SIGKILL)
            kills += os.WIFSIGNALED(os.waitpid(child, 0)[1])
            assert committed <= _committed(tmp_path / "killed")
        assert kills
        captured(teacher, tmp_path / "killed", sources_of(data), k_best=k_best)
        assert content(tmp_path / "killed") == content(tmp_path / "whole")


def _committed(store: Path) -> Set[str]:
    manifest = store / "manifest.main.json"
    return {shard["file"] for shard in json.loads(manifest.read_text())["shards"]} if manifest.exists() else set()


class TestRefusals:
    def test_another_teacher(self, teacher: CapturedTeacher, data: Path, tmp_path: Path) -> None:
        captured(teacher, tmp_path / "store", sources_of(data))
        other = load_teacher(make_archive(tmp_path / "archive", data, seed=2))
        with pytest.raises(
            ConfigurationError, match=r"store of another teacher: fingerprint is '\w+', not '\w+' as in"
        ):
            captured(other, tmp_path / "store", sources_of(data))

    def test_another_encoding(self, teacher: CapturedTeacher, data: Path, tmp_path: Path) -> None:
        captured(teacher, tmp_path, sources_of(data))
        with pytest.raises(ConfigurationError, match="encoding is 'float32', not 'float16' as in the store"):
            captured(teacher, tmp_path, sources_of(data), encoding="float32")

    def test_nan_names_the_sentence(self, archive: Path, data: Path, tmp_path: Path) -> None:
        teacher = load_teacher(archive)
        word = teacher.model.vocab.get_token_index("en7", "tokens")
        teacher.model.text_field_embedder.token_embedder_tokens.weight.data[word] = torch.nan
        with pytest.raises(
            ConfigurationError, match=r"the teacher fails on the sentence 'en7.*' \(en, .*: emissions con"
        ):
            captured(teacher, tmp_path, sources_of(data))
        # What was committed before stays, and the store does not pass for complete.
        with pytest.raises(ConfigurationError, match="broken off after"):
            TeacherStore.open(str(tmp_path))

    def test_a_word_the_teacher_does_not_see(self, teacher: CapturedTeacher, tmp_path: Path, monkeypatch: Any) -> None:
        write_corpus(tmp_path / "en.conll", "en", 3)
        original = Batch.as_tensor_dict

        def shortened(self: Batch, *args: Any, **kwargs: Any) -> Any:
            tensors = original(self, *args, **kwargs)
            tensors["tokens"]["tokens"]["tokens"][0, -1] = 0
            return tensors

        monkeypatch.setattr(Batch, "as_tensor_dict", shortened)
        with pytest.raises(ConfigurationError, match=r"sees \d of the \d words of 'en0 .*' \(en, .*en.conll:1\)"):
            captured(teacher, tmp_path / "store", [Source(str(tmp_path / "en.conll"), "en")], batch_size=1)

    @pytest.mark.parametrize("option", ["batch_size", "sentences_per_shard"])
    def test_sizes_below_one(self, teacher: CapturedTeacher, data: Path, tmp_path: Path, option: str) -> None:
        with pytest.raises(ConfigurationError, match=f"{option} must be at least 1, not 0"):
            captured(teacher, tmp_path, sources_of(data), **{option: 0})

    def test_files_are_looked_at_before_anything_is_computed(
        self, teacher: CapturedTeacher, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(CapturedTeacher, "records", None)
        (tmp_path / "broken.conll").write_text("Ada O\nsleeps\n")
        with pytest.raises(ConfigurationError, match=r"broken\.conll:2"):
            captured(teacher, tmp_path / "store", [*sources_of(data), Source(str(tmp_path / "broken.conll"), "en")])

    def test_a_model_of_another_kind(self, archive: Path) -> None:
        loaded = load_archive(str(archive))._replace(model=torch.nn.Linear(1, 1))
        with pytest.raises(ConfigurationError, match="the archive is a Linear, which shows no potentials"):
            teacher_of_archive(loaded)

    def test_a_reader_of_another_kind(self, archive: Path) -> None:
        loaded = load_archive(str(archive))._replace(validation_dataset_reader=object())
        with pytest.raises(ConfigurationError, match="the reader of the archive is a object, not one of this plugin's"):
            teacher_of_archive(loaded)

    def test_the_store_can_be_added_to_after_an_error(
        self, teacher: CapturedTeacher, data: Path, tmp_path: Path
    ) -> None:
        with pytest.raises(ConfigurationError):
            captured(teacher, tmp_path / "store", [Source(str(tmp_path / "nothing.conll"))])
        with TeacherStoreWriter(str(tmp_path / "store"), teacher.describe("float16"), teacher.tables(), {}):
            pass
