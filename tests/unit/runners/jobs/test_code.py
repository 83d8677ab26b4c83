"""A client's own modules are packed with all that they import from beside them, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tillstream.pipelines.errors import UserError
from tillstream.runners.carried import opened
from tillstream.runners.jobs.code import BYTES_MAX, code_digest, pack, packages_in

from .project import write_project


def names(content: bytes) -> list[str]:
    """Return what was packed."""
    with opened(content) as packed:
        return packed.namelist()


def test_what_modules_need_is_packed(tmp_path: Path) -> None:
    """Their packages with the files in them, and what they import; no caches, and not what nobody imports."""
    write_project(tmp_path)
    content = pack(["shop_transforms.big", "not_here.at_all"], tmp_path / "transforms")
    assert names(content) == [
        "shop_rules.py",
        "shop_transforms/__init__.py",
        "shop_transforms/big.py",
        "shop_transforms/rates.csv",
    ]
    assert packages_in(content) == {"shop_rules", "shop_transforms"}


def test_imports_anywhere_and_in_rings_are_followed(tmp_path: Path) -> None:
    """An import inside of a function counts; modules may import each other; relative imports stay inside."""
    (tmp_path / "one.py").write_text("def f():\n    from two import x\n")
    (tmp_path / "two.py").write_text("import one, three.deep as d\n")
    (tmp_path / "three").mkdir()
    (tmp_path / "three" / "deep.py").write_text("from . import one\nimport os\n")
    assert names(pack(["one"], tmp_path)) == ["one.py", "three/deep.py", "two.py"]


def test_equal_files_give_equal_bytes(tmp_path: Path) -> None:
    """Wherever they lie, and whenever they were written; the digest is that of their content."""
    for place in ("a", "b"):
        write_project(tmp_path / place)
    one, other = (pack(["shop_transforms.big"], tmp_path / place / "transforms") for place in ("a", "b"))
    assert one == other
    (tmp_path / "b" / "transforms" / "shop_rules.py").write_text("NOTE = 'other'\n")
    changed = pack(["shop_transforms.big"], tmp_path / "b" / "transforms")
    assert code_digest(changed) != code_digest(one)


def test_nothing_to_carry_is_nothing(tmp_path: Path) -> None:
    """Modules that are installed lie elsewhere."""
    assert pack(["tillstream.transforms"], tmp_path) == b""
    assert (code_digest(b""), packages_in(b"")) == ("", frozenset())


def test_what_is_too_large_is_refused(tmp_path: Path) -> None:
    """It names what weighs most, and the way: an installed package."""
    (tmp_path / "one.py").write_bytes(b"")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "model.bin").write_bytes(bytes(range(256)) * (BYTES_MAX // 64))
    (tmp_path / "one.py").write_text("import data\n")
    # What repeats packs well, so it takes something that does not.
    (tmp_path / "data" / "noise.bin").write_bytes(os.urandom(BYTES_MAX))
    with pytest.raises(
        UserError, match=r"found 10\d\d KB .* in .*(noise|model)\.bin, expected at most 1000 KB"
    ):
        pack(["one"], tmp_path)
