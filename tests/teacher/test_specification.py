"""docs/teacher_store.md is enough to read a store: a reader written from it alone, without this package."""

import hashlib
import itertools
import json
import zlib
from dataclasses import fields
from pathlib import Path
from typing import Any, Dict, List, Tuple

import numpy as np
import pytest

from structkd_plugin.teacher.capture import Source, capture
from structkd_plugin.teacher.format import Calibration
from structkd_plugin.teacher.parts import Part

from .stores import SENTENCES, WITH_K_BEST, Spoken, emissions_of, k_best_of, tables_of, write_store
from .training import load_teacher

TYPES = {"U8": "u1", "U16": "<u2", "U32": "<u4", "I16": "<i2", "I64": "<i8", "F16": "<f2", "F32": "<f4"}


def read_safetensors(file: Path) -> Tuple[bytes, Dict[str, np.ndarray]]:
    raw = file.read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    arrays = {}
    for name, entry in json.loads(raw[8:start]).items():
        begin, end = entry["data_offsets"]
        array = np.frombuffer(raw[start + begin : start + end], dtype=TYPES[entry["dtype"]])
        arrays[name] = array.reshape(entry["shape"])
    return raw[:start], arrays


def key_of(language: str, words: list) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for text in [language, *words]:
        digest.update(len(text.encode()).to_bytes(8, "little") + text.encode())
    return digest.digest()


def read_index(path: Path, manifest: Dict[str, Any]) -> Dict[bytes, Tuple[int, ...]]:
    """By key the six numbers of its entry."""
    index = manifest["index"]
    assert (path / index["file"]).stat().st_size == index["bytes"]
    head, arrays = read_safetensors(path / index["file"])
    starts, checksums, entries = arrays["starts"], arrays["checksums"], arrays["entries"]
    assert zlib.crc32(head + starts.tobytes() + checksums.tobytes()) == index["head_crc32"]
    assert entries.shape == (index["sentences"], 40)
    number = (index["sentences"] - 1) // 32
    bits = len(f"{number:b}") if number else 0
    assert (len(starts), len(checksums)) == (2**bits + 1, 2**bits)
    found = {}
    for bucket in range(2**bits):
        inside = entries[starts[bucket] : starts[bucket + 1]]
        assert zlib.crc32(inside.tobytes()) == checksums[bucket]
        for entry in inside:
            key = entry[:16].tobytes()
            assert int.from_bytes(key, "big") >> (128 - bits) == bucket
            found[key] = tuple(entry[16:].view("<u4").tolist())
    assert list(found) == sorted(found)
    return found


def read_store(path: Path) -> Dict[bytes, List[np.ndarray]]:
    """By key the emissions, and where the store has them the tags and scores of the best labellings."""
    records: Dict[bytes, List[np.ndarray]] = {}
    parts: Dict[Tuple[str, int], List[int]] = {}
    for file in sorted(path.glob("manifest.*.json")):
        manifest: Dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        assert (manifest["format"], manifest["version"]) == ("structkd teacher store", 1)
        checksum = manifest.pop("checksum")
        text = json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        assert hashlib.sha256(text.encode()).hexdigest() == checksum
        assert manifest["complete"]
        assert zlib.crc32((path / "tables.safetensors").read_bytes()) == manifest["tables_crc32"]
        part, of = manifest["part"], manifest["parts"]
        if part is not None:
            ending = f"-{part:05d}-of-{of:05d}"
            assert manifest["writer"].endswith(ending)
            parts.setdefault((manifest["writer"].removesuffix(ending), of), []).append(part)
        index = read_index(path, manifest) if manifest["index"] else {}
        assert len(index) == sum(manifest["sentences"].values())
        for shard_number, shard in enumerate(manifest["shards"]):
            assert (path / shard["file"]).stat().st_size == shard["bytes"]
            head, arrays = read_safetensors(path / shard["file"])
            for name in ("keys", "offsets", "languages", "checksums"):
                head += arrays[name].tobytes()
            assert zlib.crc32(head) == shard["index_crc32"]
            assert arrays["emissions"].shape == (shard["words"], len(manifest["teacher"]["labels"]))
            k = manifest["teacher"]["k_best"]
            assert ("k_best_tags" in arrays) == ("k_best_scores" in arrays) == (k > 0)
            if k:
                assert arrays["k_best_tags"].shape == (shard["words"], k)
                assert arrays["k_best_scores"].shape == (shard["sentences"], k)
            keys = [key.tobytes() for key in arrays["keys"]]
            assert keys == sorted(keys)
            for number, key in enumerate(keys):
                words = slice(arrays["offsets"][number], arrays["offsets"][number + 1])
                data = [arrays["emissions"][words]]
                if k:
                    data += [arrays["k_best_tags"][words], arrays["k_best_scores"][number]]
                language = shard["languages"][arrays["languages"][number]]
                covered = key + len(data[0]).to_bytes(4, "little") + language.encode()
                covered += b"".join(array.tobytes() for array in data)
                assert zlib.crc32(covered) == arrays["checksums"][number]
                described = (shard_number, number, words.start, len(data[0]), arrays["languages"][number])
                assert index[key] == (*described, arrays["checksums"][number])
                if part is not None:
                    assert int.from_bytes(key[:8], "big") % of == part - 1
                records.setdefault(key, data)
    for (_, of), there in parts.items():
        assert sorted(there) == list(range(1, of + 1))
    return records


def legal_in_bio(tags: List[str]) -> bool:
    """An I- continues a span of its type."""
    return all(
        not after.startswith("I-") or before[2:] == after[2:]
        for before, after in zip(["O", *tags[:-1]], tags, strict=True)
    )


@pytest.mark.parametrize("encoding", ["float16", "float32"])
def test_a_reader_written_from_the_page(tmp_path: Path, encoding: str) -> None:
    write_store(tmp_path, SENTENCES[:3], encoding=encoding)
    write_store(tmp_path, SENTENCES[2:], encoding=encoding, writer="second")
    records = read_store(tmp_path)
    assert len(records) == len(SENTENCES)
    for sentence in SENTENCES:
        [record] = records[key_of(sentence.language, sentence.words.split())]
        np.testing.assert_allclose(record, emissions_of(sentence), rtol=2**-11)
    _, tables = read_safetensors(tmp_path / "tables.safetensors")
    for name, table in tables_of().items():
        np.testing.assert_array_equal(tables[name], table)


def test_a_reader_of_parts_written_from_the_page(tmp_path: Path) -> None:
    sentences = [Spoken("en", f"word{number} of {number}") for number in range(300)]
    for number in (2, 1, 3):
        part = Part(number, 3)
        own = [sentence for sentence in sentences if part.takes(bytes.fromhex(sentence.key))]
        store = write_store(tmp_path, own, per_shard=40, writer="part", part=part, finish=number != 3)
        assert store is None
    store = write_store(tmp_path, [], writer="part", part=part)
    records = read_store(tmp_path)
    assert len(records) == len(store) == 300
    for sentence in sentences:
        [emissions] = records[key_of(sentence.language, sentence.words.split())]
        np.testing.assert_array_equal(emissions, store.get(sentence.key).emissions)


def test_a_reader_of_the_best_labellings_written_from_the_page(tmp_path: Path) -> None:
    write_store(tmp_path, **WITH_K_BEST)
    records = read_store(tmp_path)
    for sentence in SENTENCES:
        emissions, *table = records[key_of(sentence.language, sentence.words.split())]
        np.testing.assert_array_equal(emissions, emissions_of(sentence))
        for stored, expected in zip(table, k_best_of(sentence, 3), strict=True):
            np.testing.assert_array_equal(stored, expected)


def test_the_best_labellings_are_those_that_the_page_defines(data: Path, archive: Path, tmp_path: Path) -> None:
    """By writing out all labellings of what the store holds; words alone have fewer than six legal ones."""
    capture(load_teacher(archive), [Source(str(data / "*.conll"), "en")], str(tmp_path), k_best=6, quiet=True)
    teacher = json.loads((tmp_path / "manifest.main.json").read_text())["teacher"]
    assert (teacher["k_best"], teacher["k_best_scheme"]) == (6, "BIO")
    labels = teacher["labels"]
    _, tables = read_safetensors(tmp_path / "tables.safetensors")
    transitions, start, end = (tables[name] for name in ("transitions", "start_transitions", "end_transitions"))
    lengths = []
    for emissions, tags, scores in read_store(tmp_path).values():
        words = len(emissions)
        if words > 4:
            continue
        lengths.append(words)
        ranked = []
        for y in itertools.product(range(len(labels)), repeat=words):
            if legal_in_bio([labels[i] for i in y]):
                score = start[y[0]] + sum(float(emissions[t, i]) for t, i in enumerate(y)) + end[y[-1]]
                ranked.append((score + sum(transitions[i, j] for i, j in itertools.pairwise(y)), y))
        ranked = sorted(ranked, key=lambda item: (-item[0], item[1][::-1]))[:6]
        assert [tuple(y) for y in tags.T[: len(ranked)]] == [y for _, y in ranked]
        np.testing.assert_allclose(scores[: len(ranked)], [score for score, _ in ranked], rtol=1e-5, atol=1e-5)
        assert (scores[len(ranked) :] == -np.inf).all()
        assert not tags[:, len(ranked) :].any()
        assert len(ranked) == (3 if words == 1 else 6)
    assert {1, 4} <= set(lengths)


def test_the_page_names_every_field(tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "teacher_store.md").read_text(encoding="utf-8")
    write_store(tmp_path, **WITH_K_BEST)
    manifest = json.loads((tmp_path / "manifest.main.json").read_text())
    _, arrays = read_safetensors(tmp_path / "shard.main.00000.safetensors")
    _, index = read_safetensors(tmp_path / manifest["index"]["file"])
    calibration = [field.name for field in fields(Calibration)]
    names = [*manifest, *manifest["teacher"], *manifest["shards"][0], *manifest["index"], *calibration]
    for name in [*names, *arrays, *index]:
        assert f"`{name}`" in page, name
