"""Files of trained models: what they say of themselves, and what is no such file."""

from __future__ import annotations

import pytest

from asyncrouter.types.errors import ConfigError
from asyncrouter.types.model_file import ModelFile, is_model_file


@pytest.mark.parametrize("content", [b"", b"\n", b"\x00\xff\nmore", b"asyncrouter-model 1 other\n"])
def test_what_is_written_is_read(tmp_path, content):
    path = tmp_path / "my.model"
    path.write_bytes(bytes(ModelFile("semantic", content)))
    assert path.read_bytes() == b"asyncrouter-model 1 semantic 0\n" + content
    assert ModelFile.read(path) == ModelFile("semantic", content)
    assert is_model_file(path.read_bytes()[:40])


def test_it_tells_what_it_has_learned_from():
    file = ModelFile("semantic", b"\n", [b"two...", b"one...", b"two..."])
    assert bytes(file) == b"asyncrouter-model 1 semantic 2\none...two...\n"
    assert ModelFile.parse(bytes(file), "x") == file
    assert file.learned_from == (b"one...", b"two...")


@pytest.mark.parametrize(
    "content", [b"", b"PAR1", b"asyncrouter-model 2 x 0\n", b"asyncrouter-model 1 x 0", b"asyncrouter-model 1 \n",
                b"asyncrouter-model 1 " + b"x" * 101 + b" 0\n", b"asyncrouter-model 1 a b\n", b"x 0\n",
                b"asyncrouter-model 1 x 2\n" + b"y" * 11]
)  # fmt: skip
def test_another_file_is_refused_by_its_path(tmp_path, content):
    path = tmp_path / "other.bin"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"other\.bin: is no model file"):
        ModelFile.read(path)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.model: No such file or directory; give the path of a model"):
        ModelFile.read(tmp_path / "none.model")


@pytest.mark.parametrize("name", ["", "two words", "line\n", "é" * 60])
def test_a_name_must_fit_on_the_first_line(name):
    with pytest.raises(ValueError, match="is no name"):
        ModelFile(name, b"")


def test_the_content_stays_out_of_the_repr():
    assert "secret" not in repr(ModelFile("x", b"secret"))
