"""docs/teacher_store.md is enough to read a store: a reader written from it alone, without this package."""

import hashlib
import json
import zlib
from pathlib import Path
from typing import Any, Dict, Tuple

import numpy as np
import pytest

from .stores import SENTENCES, emissions_of, tables_of, write_store

TYPES = {"U8": "u1", "U16": "<u2", "U32": "<u4", "I64": "<i8", "F16": "<f2", "F32": "<f4"}


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


def read_store(path: Path) -> Dict[bytes, np.ndarray]:
    records: Dict[bytes, np.ndarray] = {}
    for file in sorted(path.glob("manifest.*.json")):
        manifest: Dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        assert (manifest["format"], manifest["version"]) == ("structkd teacher store", 1)
        checksum = manifest.pop("checksum")
        text = json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        assert hashlib.sha256(text.encode()).hexdigest() == checksum
        assert manifest["complete"]
        assert zlib.crc32((path / "tables.safetensors").read_bytes()) == manifest["tables_crc32"]
        for shard in manifest["shards"]:
            assert (path / shard["file"]).stat().st_size == shard["bytes"]
            head, arrays = read_safetensors(path / shard["file"])
            for name in ("keys", "offsets", "languages", "checksums"):
                head += arrays[name].tobytes()
            assert zlib.crc32(head) == shard["index_crc32"]
            assert arrays["emissions"].shape == (shard["words"], len(manifest["teacher"]["labels"]))
            keys = [key.tobytes() for key in arrays["keys"]]
            assert keys == sorted(keys)
            for number, key in enumerate(keys):
                rows = arrays["emissions"][arrays["offsets"][number] : arrays["offsets"][number + 1]]
                language = shard["languages"][arrays["languages"][number]]
                header = key + len(rows).to_bytes(4, "little") + language.encode()
                assert zlib.crc32(header + rows.tobytes()) == arrays["checksums"][number]
                records.setdefault(key, rows)
    return records


@pytest.mark.parametrize("encoding", ["float16", "float32"])
def test_a_reader_written_from_the_page(tmp_path: Path, encoding: str) -> None:
    write_store(tmp_path, SENTENCES[:3], encoding=encoding)
    write_store(tmp_path, SENTENCES[2:], encoding=encoding, writer="second")
    records = read_store(tmp_path)
    assert len(records) == len(SENTENCES)
    for sentence in SENTENCES:
        record = records[key_of(sentence.language, sentence.words.split())]
        np.testing.assert_allclose(record, emissions_of(sentence), rtol=2**-11)
    _, tables = read_safetensors(tmp_path / "tables.safetensors")
    for name, table in tables_of().items():
        np.testing.assert_array_equal(tables[name], table)


def test_the_page_names_every_field(tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "teacher_store.md").read_text(encoding="utf-8")
    write_store(tmp_path)
    manifest = json.loads((tmp_path / "manifest.main.json").read_text())
    _, arrays = read_safetensors(tmp_path / "shard.main.00000.safetensors")
    for name in [*manifest, *manifest["teacher"], *manifest["shards"][0], *arrays]:
        assert f"`{name}`" in page, name
