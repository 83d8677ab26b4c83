"""Write the files of a new transform: code, contracts, config, fixture, tests."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template

import yaml

from tillstream.pipelines.errors import UserError
from tillstream.transforms.scaffold.names import Names

__all__ = ["Made", "new_transform"]

_ENTRY_POINTS = '[project.entry-points."tillstream.transforms"]'
# Each transform has these of its own; template to path.
_OWN = {
    "module.py.tmpl": "{package}/{name}.py",
    "fixture.jsonl.tmpl": "fixtures/{name}.jsonl",
    "expected.json.tmpl": "fixtures/{name}.expected.json",
    "test.py.tmpl": "tests/test_{name}.py",
}
# These are the package's, and stay as they are when there.
_SHARED = {
    "init.py.tmpl": "{package}/__init__.py",
    "pyproject.toml.tmpl": "pyproject.toml",
    "config.yaml.tmpl": "{client}.yaml",
    "README.md.tmpl": "README.md",
}


@dataclass(frozen=True)
class Made:
    """Say what was done.

    Attributes:
        files: that were written, relative to the folder.
        changed: that were there and got a line more.
        left: what a person has to add to files that were there, by file.
    """

    files: tuple[Path, ...]
    changed: tuple[Path, ...]
    left: dict[Path, str]


def new_transform(names: Names, folder: Path, version: str) -> Made:
    """Write a new transform into a folder; what is there is not overwritten.

    Args:
        names: of the transform.
        folder: of the package, made if missing.
        version: of the transform.

    Raises:
        UserError: if one of the transform's own files is there, or the folder cannot be written; nothing is
            written then.
    """
    source = _reader(folder / f"{names.client}.yaml", f"{names.client}.public.orders") or names.name
    is_reader = source == names.name
    words = {
        "client": names.client,
        "name": names.name,
        "package": names.package,
        "class_name": names.class_name,
        "exports": ", ".join(f'"{each}"' for each in sorted([names.class_name, "Input", "Output"])),
        "version": version,
        "source": source,
        "origin": f"topic: {names.client}.public.orders" if is_reader else f"from: {source}",
        "into": "" if is_reader else f', into="{names.name}"',
    }
    own = {Path(path.format(**words)): template for template, path in _OWN.items()}
    taken = [str(path) for path in own if (folder / path).exists()]
    if taken:
        raise UserError(
            f"found {', '.join(taken)} in {folder}, expected none of them: "
            f"remove them, or give the transform another name than {names.name!r}"
        )
    shared = {Path(path.format(**words)): template for template, path in _SHARED.items()}
    there = [path for path in shared if (folder / path).exists()]
    wanted = {**own, **{path: template for path, template in shared.items() if path not in there}}
    texts = {path: _filled(template, words) for path, template in wanted.items()}
    changed, left = [], {}
    entry = f'{names.client}_{names.name} = "{names.module}"'
    try:
        for path, text in texts.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
        for path in there:
            if path.name == "pyproject.toml":
                if _add_entry_point(folder / path, entry):
                    changed.append(path)
                else:
                    left[path] = f"{_ENTRY_POINTS}\n{entry}\n"
            elif path.suffix == ".yaml":
                left[path] = _filled("entity.yaml.tmpl", words)
    except OSError as error:
        raise UserError(
            f"{error.filename}: {error.strerror}: expected a folder that can be written"
        ) from error
    return Made(tuple(sorted(texts)), tuple(changed), left)


def _reader(config: Path, topic: str) -> str | None:
    """Return the entity of a config that reads a topic, of which there is one at most, or none."""
    try:
        found = yaml.safe_load(config.read_text(encoding="utf-8"))
        entities = found["entities"].items()
    except (OSError, ValueError, yaml.YAMLError, TypeError, KeyError, AttributeError):
        return None  # `tillstream validate` says what is wrong with it
    return next(
        (str(name) for name, each in entities if isinstance(each, dict) and each.get("topic") == topic), None
    )


def _filled(template: str, words: dict[str, str]) -> str:
    folder = files("tillstream.transforms.scaffold").joinpath("templates")
    text = folder.joinpath(template).read_text(encoding="utf-8")
    return Template(text).substitute(words)


def _add_entry_point(path: Path, entry: str) -> bool:
    """Add a line to the table of entry points; return whether there was one."""
    text = path.read_text(encoding="utf-8")
    heading = re.search(rf"^{re.escape(_ENTRY_POINTS)}\s*\n", text, re.MULTILINE)
    if heading is None:
        return False
    path.write_text(f"{text[: heading.end()]}{entry}\n{text[heading.end() :]}", encoding="utf-8")
    return True
