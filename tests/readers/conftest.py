import pytest


@pytest.fixture
def write(tmp_path):
    """Write a file of this text or bytes below a fresh folder, and return its path."""

    def write(name, content):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        return str(file)

    return write
