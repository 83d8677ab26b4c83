"""The registry is a dict that refuses duplicates, finds modules that are named, and helps."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType

import apache_beam as beam
import pytest

from tillstream.pipelines.errors import TransformError
from tillstream.transforms.api import transform
from tillstream.transforms.contracts.references import contract_at
from tillstream.transforms.registry import ENTRY_POINTS, Registry, find_transforms


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


@pytest.mark.parametrize("name", ["acme.orders@01.0.0", "acme.orders@1.0.00"])
def test_a_version_has_one_spelling(name: str) -> None:
    """No leading zeros, or one version would have two names."""
    with pytest.raises(TransformError, match="without leading zeros"):
        transform(name)
    with pytest.raises(TransformError, match=r"expected client\.name"):
        contract_at(name, Registry)


@pytest.mark.parametrize("name", ["acme.order", "acme.orders_enriched", "acme.orders_enriched@10.20.30"])
def test_a_name_is_near_whatever_its_version(name: str) -> None:
    """What stands before the @ is matched, with a version or without one."""
    with pytest.raises(TransformError, match=r"acme\.orders_enriched@1\.0\.0") as caught:
        find_transforms().get(name)
    assert "globex" not in str(caught.value)


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


def test_another_clients_broken_package_harms_nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A package that raises, or even exits, is named only to who misses a transform."""
    monkeypatch.setattr("sys.path", [str(tmp_path), *sys.path])
    (tmp_path / "other_exits.py").write_text("raise SystemExit(3)")
    broken = EntryPoint("other", "other_exits", ENTRY_POINTS)
    monkeypatch.setattr("tillstream.transforms.registry.entry_points", lambda **_: [broken])
    registry = find_transforms()
    assert registry.get("globex.page_path@1.0.0")
    with pytest.raises(TransformError, match=r"'other.lost@1.0.0' is unknown.*'other_exits'.*SystemExit: 3"):
        registry.get("other.lost@1.0.0")


def test_modules_of_one_name_belong_to_their_own_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two clients may both call their module `same_name`: each finds its own."""
    monkeypatch.setattr("sys.path", list(sys.path))
    for client in ("one", "two"):
        (tmp_path / client).mkdir()
        code = "import apache_beam as beam\nfrom tillstream.transforms.api import transform\n"
        code += f"@transform('{client}.own@1.0.0')\nclass Own(beam.DoFn):\n    pass\n"
        (tmp_path / client / "same_name.py").write_text(code)
    for client, other in (("one", "two"), ("two", "one"), ("one", "two")):
        names = find_transforms(["same_name"], str(tmp_path / client)).names()
        assert f"{client}.own@1.0.0" in names
        assert f"{other}.own@1.0.0" not in names


def test_only_dofns_and_aggregates_are_transforms() -> None:
    """A plain class, a function, and a class that has a name already are refused where they are marked."""

    class Plain:
        """Be nothing in particular."""

    for wrong in (Plain, lambda: None):
        with pytest.raises(TransformError, match=r"expected a class of beam\.DoFn or Aggregate"):
            transform("acme.plain@1.0.0")(wrong)  # type: ignore[type-var]
    with pytest.raises(TransformError, match=r"is 'acme\.once@1\.0\.0' already"):
        transform("acme.twice@1.0.0")(dofn("acme.once@1.0.0"))
