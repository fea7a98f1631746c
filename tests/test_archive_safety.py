"""Archives that would do more than describe a model are refused by whatever loads them; all others load as ever."""

import gzip
import io
import json
import os
import pickle
import random
import re
import shutil
import subprocess
import sys
import tarfile
import warnings
from pathlib import Path
from typing import Any, Callable, Dict, Optional

import numpy as np
import pytest
import torch
from allennlp.commands import main
from allennlp.commands.train import train_model
from allennlp.common import Params, Registrable
from allennlp.common.checks import ConfigurationError
from allennlp.data import DatasetReader, Vocabulary
from allennlp.models import Model
from allennlp.models.archival import load_archive
from allennlp.modules import TokenEmbedder
from allennlp.nn import Activation
from allennlp.nn.initializers import PretrainedModelInitializer
from allennlp.predictors import Predictor
from allennlp.training.optimizers import Optimizer

from structkd_plugin import archive_safety
from structkd_plugin.archive_safety import check_archive, check_weights
from structkd_plugin.tagger import StructuredTagger
from tests.teacher.training import config, train, write_corpus

ROOT = Path(__file__).parents[1]
# Torch as it was before 2.6: it unpickles whatever there is, unless it is told not to.
UNSAFE_TORCH = {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}


class Evil:
    """What creates the file `path` when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return open, (str(self.path), "w")


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpora")
    for language in ("en", "de"):
        for part, sentences in (("train", 8), ("dev", 4)):
            write_corpus(path / f"{language}.{part}.conll", language, sentences, seed=sentences)
    return path


@pytest.fixture(scope="module")
def folder(corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A serialization directory as training leaves it."""
    path = tmp_path_factory.mktemp("trained") / "run"
    train(config(corpora), path)
    return path


@pytest.fixture
def unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that archives are unpacked in, empty."""
    path = tmp_path / "temporary"
    path.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(path))
    return path


def file_member(name: str, content: bytes = b"x\n", **changes: Any) -> Callable[[tarfile.TarFile], None]:
    def add(tar: tarfile.TarFile) -> None:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        for attribute, value in changes.items():
            setattr(member, attribute, value)
        tar.addfile(member, io.BytesIO(content))

    return add


def other_member(name: str, kind: bytes, target: str = "") -> Callable[[tarfile.TarFile], None]:
    def add(tar: tarfile.TarFile) -> None:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, target
        tar.addfile(member)

    return add


def pack(
    folder: Path, target: Path, *members: Callable[[tarfile.TarFile], None], without: str = "", level: int = 1
) -> Path:
    """What `allennlp train` would pack of `folder`, without one name, and then further members."""
    with tarfile.open(target, "w:gz", compresslevel=level) as tar:
        for source, name in (("config.json", "config.json"), ("best.th", "weights.th"), ("vocabulary", "vocabulary")):
            if name != without:
                tar.add(folder / source, arcname=name)
        for add in members:
            add(tar)
    return target


def saved(content: Any, legacy: bool = False) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=not legacy)
    return file.getvalue()


def evil_archive(folder: Path, tmp_path: Path) -> Path:
    evil = file_member("weights.th", saved({"a": Evil(tmp_path / "marker")}))
    return pack(folder, tmp_path / "evil.tar.gz", evil, without="weights.th")


def refusal(act: Callable[[], Any]) -> str:
    with pytest.raises(ConfigurationError) as caught:
        act()
    assert "\n" not in caught.value.message
    return caught.value.message


def run(*arguments: Any) -> None:
    """`allennlp` in this process."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "argv", ["allennlp", *map(str, arguments)])
        main(prog="allennlp")


# --- What is harmless loads as ever ---


@pytest.mark.parametrize("level", [0, 1, 9])
def test_a_trained_archive_loads_as_it_was(folder: Path, tmp_path: Path, unpacked: Path, level: int) -> None:
    path = pack(folder, tmp_path / "model.tar.gz", level=level)
    parameters = torch.load(folder / "best.th", weights_only=True)
    for archive in (load_archive(path), load_archive(str(path)), load_archive(folder)):
        assert archive.config.as_dict(quiet=True) == json.loads((folder / "config.json").read_text())
        state = archive.model.state_dict()
        assert list(state) == list(parameters)
        assert all(torch.equal(state[name], parameters[name]) for name in state)
    assert os.listdir(unpacked) == []


def test_the_archive_of_a_training_loads(folder: Path) -> None:
    archive = load_archive(folder / "model.tar.gz")
    assert isinstance(archive.model, StructuredTagger)
    assert archive.meta is not None


def test_members_may_be_named_with_a_dot_and_repeated(folder: Path, tmp_path: Path) -> None:
    """As `tar czf model.tar.gz .` and overlapping patterns of include_in_archive have it."""
    path = tmp_path / "model.tar.gz"
    names = ["config.json", "best.th", "vocabulary"]
    with tarfile.open(path, "w:gz") as tar:
        tar.add(folder, arcname=".", recursive=False)
        for name in names:
            tar.add(folder / name, arcname=f"./{name}")
        file_member("notes.txt", b"first")(tar)
        file_member("notes.txt", b"second")(tar)
    with archive_safety._extracted_archive(path) as extracted:
        assert Path(extracted, "notes.txt").read_bytes() == b"second"
        assert sorted(os.listdir(extracted)) == sorted([*names, "notes.txt"])
    assert not os.path.exists(extracted)
    assert load_archive(path).model is not None


def test_a_stock_archive_loads(tmp_path: Path) -> None:
    data = tmp_path / "data.txt"
    data.write_text("the###D dog###N\na###D cat###N\n")
    settings: Dict[str, Any] = {
        "dataset_reader": {"type": "sequence_tagging"},
        "train_data_path": str(data),
        "model": {
            "type": "simple_tagger",
            "text_field_embedder": {"token_embedders": {"tokens": {"type": "embedding", "embedding_dim": 2}}},
            "encoder": {"type": "lstm", "input_size": 2, "hidden_size": 2},
        },
        "data_loader": {"batch_size": 2},
        "trainer": {"num_epochs": 1, "optimizer": {"type": "sgd", "lr": 0.1}, "cuda_device": -1},
    }
    trained = train_model(Params(settings), str(tmp_path / "run"))
    loaded = load_archive(tmp_path / "run" / "model.tar.gz").model
    assert trained is not None
    assert all(torch.equal(loaded.state_dict()[name], value) for name, value in trained.state_dict().items())


def test_weights_of_old_torch_load(folder: Path, tmp_path: Path) -> None:
    parameters = torch.load(folder / "best.th", weights_only=True)
    old = file_member("weights.th", saved(parameters, legacy=True))
    state = load_archive(pack(folder, tmp_path / "old.tar.gz", old, without="weights.th")).model.state_dict()
    assert all(torch.equal(state[name], parameters[name]) for name in parameters)


@pytest.mark.parametrize("legacy", [False, True])
def test_whatever_is_a_tensor_is_one(tmp_path: Path, legacy: bool) -> None:
    state: Dict[str, Any] = torch.nn.LSTM(2, 3).state_dict()
    names = ["float16", "bfloat16", "float64", "bool", "uint8", "int8", "int16", "int32", "int64", "complex64"]
    for name in names:
        state[name] = torch.ones(2, 3).to(getattr(torch, name)).t()
    state["parameter"] = torch.nn.Parameter(torch.ones(2))
    state["quantized"] = torch.quantize_per_tensor(torch.ones(2), 0.1, 1, torch.qint8)
    state["scalar"], state["shared"] = torch.tensor(1.0), state["float64"]
    state["others"] = [1, 2.5, "text", None, (True,), torch.Size([2]), torch.float32, torch.device("cpu")]
    path = tmp_path / "weights.th"
    path.write_bytes(saved(state, legacy))
    check_weights(path)
    assert list(torch.load(path, weights_only=True)) == list(state)
    # What torch 2.4 does not yet load.
    path.write_bytes(saved({"sparse": torch.eye(3).to_sparse(), "bytes": b"bytes"}, legacy))
    check_weights(path)


def test_classes_that_the_user_has_told_torch_to_trust_are_trusted(tmp_path: Path) -> None:
    path = tmp_path / "weights.th"
    path.write_bytes(saved({"evil": Evil}))
    assert "calls 'tests.test_archive_safety.Evil'" in refusal(lambda: check_weights(path))
    before = torch.serialization.get_safe_globals()
    try:
        torch.serialization.add_safe_globals([Evil])
        check_weights(path)
        assert torch.load(path, weights_only=True) == {"evil": Evil}
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)


def test_links_in_a_folder_of_ones_own_are_followed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "linked").mkdir()
    for name in ("config.json", "best.th", "vocabulary"):
        (tmp_path / "linked" / name).symlink_to(folder / name)
    assert load_archive(tmp_path / "linked").model is not None


# --- Members ---

SPARSE = {
    "GNU.sparse.major": "1",
    "GNU.sparse.minor": "0",
    "GNU.sparse.name": "huge.txt",
    "GNU.sparse.realsize": str(10**15),
}

MEMBERS = {
    "parent": (["../evil.txt"], "'../evil.txt' would be written outside"),
    "parent further down": (["vocabulary/../../evil.txt"], "would be written outside"),
    "absolute": (["{outside}/evil.txt"], "evil.txt' would be written outside"),
    "backslashes": (["..\\evil.txt"], "would be written outside"),
    "drive": (["C:evil.txt"], "'C:evil.txt' would be written outside"),
    "folder": ([other_member("../evil", tarfile.DIRTYPE)], "'../evil' would be written outside"),
    "symbolic link": ([other_member("etc", tarfile.SYMTYPE, "/etc")], "'etc' is a link (to '/etc')"),
    "symbolic link within": ([other_member("a.th", tarfile.SYMTYPE, "weights.th")], "'a.th' is a link"),
    "through a link": (
        [other_member("way", tarfile.SYMTYPE, "{outside}"), "way/evil.txt"],
        "'way' is a link (to '",
    ),
    "hard link": ([other_member("passwords", tarfile.LNKTYPE, "../../etc/passwd")], "'passwords' is a link"),
    "hard link within": ([other_member("a.th", tarfile.LNKTYPE, "weights.th")], "'a.th' is a link"),
    "fifo": ([other_member("pipe", tarfile.FIFOTYPE)], "'pipe' is neither a plain file nor a folder"),
    "device": ([other_member("null", tarfile.CHRTYPE)], "'null' is neither a plain file nor a folder"),
    "holes": ([file_member("huge.txt", b"0\n" + bytes(510), pax_headers=SPARSE)], "'huge.txt' is neither a plain"),
    "second configuration": ([file_member("./config.json", b"{}")], "config.json is in it twice"),
    "capitals": ([file_member("CONFIG.json", b"{}")], "config.json is in it twice"),
}


@pytest.mark.parametrize("name", MEMBERS)
def test_a_member_that_is_more_than_a_file_in_its_folder_is_refused(
    folder: Path, tmp_path: Path, unpacked: Path, name: str
) -> None:
    members, expected = MEMBERS[name]
    outside = tmp_path / "outside"
    outside.mkdir()

    def add(tar: tarfile.TarFile) -> None:
        for member in members:
            if isinstance(member, str):
                member = file_member(member.format(outside=outside))
            member(tar)

    path = pack(folder, tmp_path / "model.tar.gz", add)
    for act in (check_archive, load_archive):
        message = refusal(lambda act=act: act(str(path)))
        assert message.startswith(f"{path} was not loaded, because ")
        assert expected in message
        assert message.endswith("; do not use it, and ask who gave it to you for one that `allennlp train` wrote")
    # Nothing was unpacked, not even for a moment longer than the call.
    assert os.listdir(unpacked) == os.listdir(outside) == []
    assert not list(tmp_path.rglob("evil*"))


@pytest.mark.parametrize("evil_first", [False, True])
def test_two_weights_are_refused_whichever_would_count(
    folder: Path, tmp_path: Path, unpacked: Path, evil_first: bool
) -> None:
    marker = tmp_path / "marker"
    evil = file_member("weights.th", saved(Evil(marker)))
    good = file_member("weights.th", (folder / "best.th").read_bytes())
    members = (evil, good) if evil_first else (good, evil)
    path = pack(folder, tmp_path / "model.tar.gz", *members, without="weights.th")
    message = refusal(lambda: load_archive(path))
    assert ("more than tensors" if evil_first else "weights.th is in it twice") in message
    assert not marker.exists()


def test_nothing_is_unpacked_before_the_last_member_is_checked(
    folder: Path, tmp_path: Path, unpacked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tarfile.TarFile, "extractall", None)
    monkeypatch.setattr("tempfile.mkdtemp", None)
    path = pack(folder, tmp_path / "model.tar.gz", other_member("link", tarfile.SYMTYPE, "/"))
    assert "is a link" in refusal(lambda: load_archive(path))


def test_a_file_where_a_folder_is_needed(folder: Path, tmp_path: Path, unpacked: Path) -> None:
    path = pack(folder, tmp_path / "model.tar.gz", file_member("config.json/more"))
    assert "it cannot be unpacked into" in refusal(lambda: load_archive(path))
    assert os.listdir(unpacked) == []


# --- Damage and size ---


def test_what_is_no_archive_or_not_whole_is_one_sentence(folder: Path, tmp_path: Path, unpacked: Path) -> None:
    path = pack(folder, tmp_path / "model.tar.gz")
    content = path.read_bytes()
    broken = [content[: len(content) * part // 12] for part in range(12)]
    broken += [content[:-1], content[:-9], content[:2000] + b"\xff" * 20 + content[2020:], b"no archive", content * 2]
    broken += [gzip.compress(b"no tar"), gzip.compress(b""), gzip.compress(gzip.decompress(content)[:3000])]
    for number, damaged in enumerate(broken):
        path.write_bytes(damaged)
        # Two archives in one file are read like the first alone.
        if number == broken.index(content * 2):
            check_archive(path)
            continue
        message = refusal(lambda: load_archive(path))
        assert message.startswith(f"{path} was not loaded, because it is damaged, or no .tar.gz (")
        assert message.endswith("); copy it again from where it was")
    assert os.listdir(unpacked) == []


def test_a_bomb_is_refused_while_it_is_read(
    folder: Path, tmp_path: Path, unpacked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = pack(folder, tmp_path / "bomb.tar.gz", file_member("zeros", bytes(8 << 20)), level=9)
    check_archive(bomb)
    monkeypatch.setattr(archive_safety, "_SUSPECT_SIZE", 4 << 20)
    message = refusal(lambda: load_archive(bomb))
    assert re.search(r"because its 0\.\d MiB are more than 200 times as much when unpacked", message)
    # As large, but not of nothing.
    check_archive(pack(folder, tmp_path / "large.tar.gz", file_member("random", random.Random(0).randbytes(8 << 20))))


def test_an_archive_larger_than_the_disk_is_refused(
    folder: Path, tmp_path: Path, unpacked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = pack(folder, tmp_path / "model.tar.gz", file_member("zeros", bytes(65 << 20)))
    usage = shutil.disk_usage(unpacked)._replace(free=50 << 20)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    message = refusal(lambda: load_archive(path))
    assert f"because {unpacked} has only 50 MiB left, and its first 64 MiB are still to be unpacked there" in message
    assert "set TMPDIR" in message


# --- Weights ---


def torch_script() -> bytes:
    file = io.BytesIO()
    torch.jit.save(torch.jit.trace(torch.nn.Linear(1, 1), torch.ones(1, 1)), file)
    return file.getvalue()


def tar_of_old_torch(marker: Path) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in ("storages", "tensors", "pickle"):
            file_member(name, pickle.dumps(Evil(marker), protocol=2))(tar)
    return file.getvalue()


def after_a_magic_number(marker: Path) -> bytes:
    """The pickles before that of the objects are those of torch."""
    whole = saved({"a": torch.ones(2)}, legacy=True)
    file = io.BytesIO(whole)
    for _ in range(3):
        pickle.load(file)
    return whole[: file.tell()] + pickle.dumps(Evil(marker), protocol=2)


WEIGHTS: Dict[str, Any] = {
    "torch": (lambda marker: saved({"a": torch.ones(2), "b": Evil(marker)}), r"calls '(io|_io|builtins)\.open'"),
    "old torch": (lambda marker: saved({"b": Evil(marker)}, legacy=True), r"calls '(io|_io|builtins)\.open'"),
    "after a magic number": (after_a_magic_number, r"calls '(io|_io|builtins)\.open'"),
    "pickle 0": (lambda marker: pickle.dumps(Evil(marker), protocol=0), r"calls '(io|_io|builtins)\.open'"),
    "pickle 4": (lambda marker: pickle.dumps(Evil(marker), protocol=4), r"calls '(io|_io|builtins)\.open'"),
    "pickle in front of tensors": (
        lambda marker: pickle.dumps(Evil(marker), protocol=2) + saved({"a": torch.ones(2)}),
        r"calls '(io|_io|builtins)\.open'",
    ),
    "instance": (lambda marker: b"(S'true'\nios\nsystem\n.", "calls 'os.system'"),
    "extension": (lambda marker: b"\x80\x02\x82\x01.", "calls '1'"),
    "module": (lambda marker: saved(torch.nn.Linear(1, 1)), "calls 'torch.nn.modules.linear.Linear'"),
    "array": (lambda marker: saved({"a": np.ones(2)}), "calls 'numpy"),
    "function of torch": (lambda marker: b"\x80\x02ctorch\nload\n.", "calls 'torch.load'"),
    "program": (lambda marker: torch_script(), r"is a program \(TorchScript\), not tensors alone"),
    "tar": (tar_of_old_torch, "the tar format of the first versions of torch"),
    "text": (lambda marker: b"my weights", "is damaged, or not a file that torch.save wrote"),
    "empty": (lambda marker: b"", "is damaged, or not a file that torch.save wrote"),
    "half": (lambda marker: saved({"a": torch.ones(999)})[:2000], "is damaged, or not a file that torch.save wrote"),
}


@pytest.mark.parametrize("kind", WEIGHTS)
def test_weights_that_are_more_than_tensors_are_refused_before_anything_is_made(
    folder: Path, tmp_path: Path, unpacked: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    for variable, value in UNSAFE_TORCH.items():
        monkeypatch.setenv(variable, value)
    marker = tmp_path / "marker"
    make, expected = WEIGHTS[kind]
    content = make(marker)
    path = pack(folder, tmp_path / "model.tar.gz", file_member("weights.th", content), without="weights.th")
    exchanged = tmp_path / "exchanged"
    shutil.copytree(folder, exchanged)
    (exchanged / "best.th").write_bytes(content)
    with monkeypatch.context() as nothing:
        nothing.setattr(DatasetReader, "from_params", None)
        nothing.setattr(Model, "load", None)
        in_archive, in_folder = refusal(lambda: load_archive(path)), refusal(lambda: load_archive(exchanged))
    assert in_archive.startswith(f"{path}!weights.th was not loaded, because it ")
    assert in_folder.startswith(f"{exchanged}/best.th was not loaded, because it ")
    # Named apart, on the command line.
    apart = refusal(lambda: load_archive(folder, weights_file=str(exchanged / "best.th")))
    for message in (in_archive, in_folder, apart):
        assert re.search(expected, message)
    assert not marker.exists()
    assert os.listdir(unpacked) == []


@pytest.mark.parametrize("legacy", [False, True])
def test_torch_is_told_to_load_tensors_alone(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, legacy: bool
) -> None:
    """The second lock, tried without the first, on a torch that would unpickle anything."""
    for variable, value in UNSAFE_TORCH.items():
        monkeypatch.setenv(variable, value)
    marker, path = tmp_path / "marker", tmp_path / "weights.th"
    path.write_bytes(saved({"a": Evil(marker)}, legacy))
    monkeypatch.setattr(archive_safety, "check_weights", lambda path: None)
    message = refusal(lambda: load_archive(folder, weights_file=str(path)))
    assert message.startswith(f"{path} was not loaded, because it needs more than tensors to load (")
    # What a part of a model loads on its own, too.
    monkeypatch.setattr(archive_safety, "_original_load_model", lambda *arguments: torch.load(path))
    with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
        load_archive(folder)
    assert not marker.exists()
    # When that is done, torch is as it was.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.load(path)["a"].close()
    assert marker.exists()


def why_refused(path: Path) -> str:
    try:
        check_weights(path)
    except ConfigurationError as error:
        return str(error.message)
    return ""


@pytest.mark.parametrize("legacy", [False, True])
def test_damaged_weights_are_refused_or_harmless(tmp_path: Path, legacy: bool) -> None:
    whole = saved(torch.nn.Linear(2, 2).state_dict(), legacy)
    draw, path = random.Random(1), tmp_path / "weights.th"
    refused = 0
    for _ in range(150):
        damaged = bytearray(whole)
        for _ in range(draw.randint(1, 5)):
            damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        path.write_bytes(damaged[: draw.choice([len(whole), draw.randrange(len(whole))])])
        message = why_refused(path)
        if message:
            refused += 1
            assert message.startswith(f"{path} was not loaded, because it ")
            assert "\n" not in message
    assert refused > 50


# --- The configuration ---

CONFIGURATIONS = {
    "import": "{{'dataset_reader': importstr '{secret}'}}",
    "variable": '{{"dataset_reader": std.extVar("HOME")}}',
    "comment": "{{}} // a program in Jsonnet",
    "function": '{{"type": "subprocess." + "Popen"}}',
    "nothing": "",
}


@pytest.mark.parametrize("kind", CONFIGURATIONS)
def test_a_configuration_that_is_a_program_is_refused(folder: Path, tmp_path: Path, unpacked: Path, kind: str) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    program = CONFIGURATIONS[kind].format(secret=secret).encode()
    path = pack(folder, tmp_path / "model.tar.gz", file_member("config.json", program), without="config.json")
    exchanged = tmp_path / "exchanged"
    shutil.copytree(folder, exchanged)
    (exchanged / "config.json").write_bytes(program)
    for archive in (path, exchanged):
        message = refusal(lambda archive=archive: load_archive(archive))
        assert f"{archive} was not loaded, because its config.json is not plain JSON" in message
    assert os.listdir(unpacked) == []


def test_a_configuration_in_another_encoding_is_refused(folder: Path, tmp_path: Path) -> None:
    """Python's JSON would guess it, Jsonnet reads something else."""
    other = file_member("config.json", (folder / "config.json").read_text().encode("utf-16"))
    path = pack(folder, tmp_path / "model.tar.gz", other, without="config.json")
    assert "config.json is not plain JSON" in refusal(lambda: load_archive(path))


def archive_with(folder: Path, path: Path, change: Callable[[Dict[str, Any]], Any]) -> Path:
    settings = json.loads((folder / "config.json").read_text())
    change(settings)
    return pack(folder, path, file_member("config.json", json.dumps(settings).encode()), without="config.json")


def test_a_configuration_that_trusts_remote_code_is_refused(folder: Path, tmp_path: Path) -> None:
    def change(settings: Dict[str, Any], value: bool) -> None:
        embedder = {"type": "pretrained_transformer", "transformer_kwargs": {"trust_remote_code": value}}
        settings["model"]["others"] = [1, {"embedders": [embedder]}]

    path = archive_with(folder, tmp_path / "evil.tar.gz", lambda settings: change(settings, True))
    assert "its config.json sets trust_remote_code" in refusal(lambda: load_archive(path))
    check_archive(archive_with(folder, tmp_path / "model.tar.gz", lambda settings: change(settings, False)))


@pytest.mark.parametrize("part", ["dataset_reader", "model", "vocabulary"])
def test_a_configuration_cannot_have_any_function_called(folder: Path, tmp_path: Path, part: str) -> None:
    marker = tmp_path / "marker"
    call = {"type": "subprocess.check_call", "args": ["touch", str(marker)]}
    path = archive_with(folder, tmp_path / "evil.tar.gz", lambda settings: settings.update({part: call}))
    message = refusal(lambda: load_archive(path))
    assert message.startswith("the configuration names 'subprocess.check_call' as a ")
    assert not marker.exists()


@pytest.mark.parametrize(
    ("base", "name"),
    [
        (DatasetReader, "os.system"),
        (DatasetReader, "subprocess.Popen"),
        (DatasetReader, "allennlp.commands.train.TrainModel"),
        (TokenEmbedder, "torch.optim.SGD"),
        (Optimizer, "torch.nn.Linear"),
        (Vocabulary, "http.server.test"),
    ],
)
def test_a_dotted_path_names_nothing_of_another_kind(base: Any, name: str) -> None:
    message = refusal(lambda: base.by_name(name))
    assert message.startswith(f"the configuration names '{name}' as a {base.__name__}, which it is not")


@pytest.mark.parametrize(
    ("base", "name"),
    [
        (DatasetReader, "structkd_plugin.readers.column_reader.ColumnReader"),
        (Model, "structkd_plugin.tagger.StructuredTagger"),
        (Activation, "torch.nn.Mish"),
        (Optimizer, "torch.optim.Adagrad"),
    ],
)
def test_a_dotted_path_names_a_class_of_its_kind(base: Any, name: str) -> None:
    assert base.by_name(name).__name__ == name.rpartition(".")[2]
    assert Registrable.resolve_class_name.__self__ is Registrable  # still a class method


# --- Everything that loads archives ---


def in_a_process_of_its_own(*arguments: Any, environment: Optional[Dict[str, str]] = None) -> "list[str]":
    """The lines on the standard error stream of an `allennlp` that fails."""
    done = subprocess.run(
        [sys.executable, "-m", "allennlp", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode != 0
    return done.stderr.splitlines()


def test_predict_as_a_user_runs_it_unpickles_nothing(folder: Path, tmp_path: Path) -> None:
    """Its module has imported load_archive long before the plugin is loaded, and torch would unpickle anything."""
    path = evil_archive(folder, tmp_path)
    (tmp_path / "new.txt").write_text("Ada sleeps\n")
    last = in_a_process_of_its_own("predict", path, tmp_path / "new.txt", environment=UNSAFE_TORCH)[-1]
    assert f"error: {path}!weights.th was not loaded, because it needs more than tensors to load" in last
    assert not (tmp_path / "marker").exists()


@pytest.mark.slow
def test_predict_as_a_user_runs_it_unpacks_nothing(folder: Path, tmp_path: Path, unpacked: Path) -> None:
    path = pack(folder, tmp_path / "evil.tar.gz", file_member("../marker"))
    last = in_a_process_of_its_own("predict", path, path, environment={"TMPDIR": str(unpacked)})[-1]
    assert f"error: {path} was not loaded, because its member '../marker' would be written outside" in last
    assert not list(tmp_path.rglob("marker"))
    assert os.listdir(unpacked) == []


def test_cache_teacher_refuses(folder: Path, corpora: Path, tmp_path: Path) -> None:
    path = evil_archive(folder, tmp_path)
    with pytest.raises(SystemExit) as caught:
        run("cache-teacher", path, f"en={corpora}/en.train.conll", "--output", tmp_path / "store")
    assert str(caught.value).startswith(f"error: {path}!weights.th was not loaded, because it needs more than tensors")
    assert not (tmp_path / "store").exists()
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("load", [Model.from_archive, Predictor.from_path])
def test_python_refuses(folder: Path, tmp_path: Path, load: Callable[[str], Any]) -> None:
    path = evil_archive(folder, tmp_path)
    assert f"{path}!weights.th was not loaded" in refusal(lambda: load(str(path)))
    assert not (tmp_path / "marker").exists()


def test_evaluate_refuses(folder: Path, corpora: Path, tmp_path: Path) -> None:
    path = pack(folder, tmp_path / "evil.tar.gz", other_member("link", tarfile.SYMTYPE, "/etc"))
    assert "is a link" in refusal(lambda: run("evaluate", path, corpora / "en.dev.conll"))


def test_a_data_loader_is_not_any_function_either(folder: Path, corpora: Path, tmp_path: Path) -> None:
    """`evaluate` makes it itself, when the archive is loaded already."""
    marker = tmp_path / "marker"
    call = {"type": "subprocess.check_call", "args": ["touch", str(marker)]}
    path = archive_with(
        folder, tmp_path / "evil.tar.gz", lambda settings: settings.update({"validation_data_loader": call})
    )
    message = refusal(lambda: run("evaluate", path, corpora / "en.dev.conll"))
    assert message.startswith("the configuration names 'subprocess.check_call' as a DataLoader")
    assert not marker.exists()


@pytest.mark.parametrize("inside", ["model", "module", "initializer"])
def test_training_from_an_archive_refuses(folder: Path, corpora: Path, tmp_path: Path, inside: str) -> None:
    path = str(evil_archive(folder, tmp_path))
    settings = config(corpora)
    if inside == "model":
        settings["model"] = {"type": "from_archive", "archive_file": path}
    elif inside == "module":
        settings["model"]["encoder"] = {"_pretrained": {"archive_file": path, "module_path": "encoder"}}
    else:
        initializer = {"type": "pretrained", "weights_file_path": path}
        settings["model"]["initializer"] = {"regexes": [[".*", initializer]]}
    assert "!weights.th was not loaded" in refusal(lambda: train_model(Params(settings), str(tmp_path / "run")))
    assert not (tmp_path / "marker").exists()


def test_training_from_an_archive_works(folder: Path, corpora: Path, tmp_path: Path) -> None:
    settings = config(corpora)
    settings["model"] = {"type": "from_archive", "archive_file": str(folder / "model.tar.gz")}
    settings["vocabulary"] = {"type": "from_files", "directory": str(folder / "model.tar.gz")}
    train(settings, tmp_path / "run")
    assert load_archive(tmp_path / "run" / "model.tar.gz").model is not None


@pytest.mark.parametrize("member", ["", "!vocabulary"])
@pytest.mark.parametrize("compression", ["gz", "bz2", ""])
def test_an_archive_that_is_a_vocabulary_is_checked_as_well(
    folder: Path, tmp_path: Path, member: str, compression: str
) -> None:
    """Through a link and back up: what the library that unpacks it would take for a member in its folder."""
    path = tmp_path / "vocabulary.tar"
    with tarfile.open(path, f"w:{compression}") as tar:
        tar.add(folder / "vocabulary", arcname="vocabulary")
        other_member("a/b/c", tarfile.SYMTYPE, ".")(tar)
        file_member("a/b/c/../../../marker")(tar)
    message = refusal(lambda: Vocabulary.from_files(f"{path}{member}"))
    assert f"{path} was not loaded, because its member 'a/b/c" in message


def test_initializing_from_an_archive_works(folder: Path) -> None:
    initializer = PretrainedModelInitializer(str(folder / "model.tar.gz"))
    assert list(initializer.weights) == list(torch.load(folder / "best.th", weights_only=True))


def test_guarding_twice_is_the_same_as_once(folder: Path, tmp_path: Path) -> None:
    archive_safety.guard()
    assert load_archive(folder / "model.tar.gz").model is not None
    assert "!weights.th was not loaded" in refusal(lambda: load_archive(evil_archive(folder, tmp_path)))
