"""The registry is a dict that refuses duplicates, finds modules that are named, and helps."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import apache_beam as beam
import pytest

from tillstream.pipelines.errors import TransformError
from tillstream.transforms.api import transform
from tillstream.transforms.registry import Registry, find_transforms


def dofn(name: str) -> type[beam.DoFn]:
    """Return a transform of that name."""

    @transform(name)
    class Marked(beam.DoFn):
        """Do nothing."""

    return Marked


def test_versions_live_side_by_side_in_their_order() -> None:
    """Two versions of one transform are two entries; 1.10 comes after 1.9."""
    registry = Registry()
    newest = dofn("acme.orders@1.10.0")
    for each in (newest, dofn("acme.orders@1.9.0"), dofn("acme.items@2.0.0")):
        registry.add(each)
    assert registry.names() == ["acme.items@2.0.0", "acme.orders@1.9.0", "acme.orders@1.10.0"]
    assert registry.get("acme.orders@1.10.0") is newest


def test_a_name_and_version_is_taken_once() -> None:
    """A second class of one name and version is refused; the same class may be found twice."""
    registry = Registry()
    first = dofn("acme.orders@1.0.0")
    registry.add(first)
    registry.add(first)
    with pytest.raises(TransformError, match="raise the version of one"):
        registry.add(dofn("acme.orders@1.0.0"))


@pytest.mark.parametrize("name", ["orders@1.0.0", "acme.orders", "acme.orders@1.0", "Acme.orders@1.0.0", ""])
def test_names_have_a_form(name: str) -> None:
    """Client, name and three numbers, or a sentence."""
    with pytest.raises(TransformError, match=r"expected client\.name@1\.2\.3"):
        transform(name)


def test_an_unknown_name_lists_near_ones() -> None:
    """A typing error is answered with what was probably meant."""
    with pytest.raises(TransformError, match=r"expected one of: globex\.price_in_euros@1\.0\.0"):
        find_transforms().get("globex.price_in_euro@1.0.0")


def test_a_module_gives_what_it_defines_and_not_what_it_imports() -> None:
    """A transform that a module imports belongs to the module that defines it; a subclass needs a name."""
    module = ModuleType("acme_transforms")
    own, other = dofn("acme.own@1.0.0"), dofn("acme.other@1.0.0")
    own.__module__ = module.__name__
    unnamed = type("Unnamed", (own,), {"__module__": module.__name__})
    vars(module).update(own=own, other=other, unnamed=unnamed)
    registry = Registry()
    registry.collect(module)
    assert registry.names() == ["acme.own@1.0.0"]
    with pytest.raises(TransformError, match="is no transform"):
        registry.add(unnamed)


def test_modules_are_found_in_the_folder_that_a_config_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module beside the config is found without being installed; a broken one says what it raised."""
    monkeypatch.setattr("sys.path", ["/nowhere"])
    code = "import apache_beam as beam\nfrom tillstream.transforms.api import transform\n"
    code += "@transform('acme.beside@1.0.0')\nclass Beside(beam.DoFn):\n    pass\n"
    (tmp_path / "beside_config.py").write_text(code)
    (tmp_path / "broken_beside.py").write_text("raise LookupError('no such thing')")
    assert "acme.beside@1.0.0" in find_transforms(["beside_config"], str(tmp_path)).names()
    with pytest.raises(
        TransformError, match="'broken_beside': importing it raised LookupError: no such thing"
    ):
        find_transforms(["broken_beside"], str(tmp_path))
