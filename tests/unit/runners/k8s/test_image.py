"""The image is built of what is pinned, runs as nobody's root, and carries no secret."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[4]
DOCKERFILE = (ROOT / "k8s/image/Dockerfile").read_text(encoding="utf-8")
# What clients' jobs may need where they run; setup.py has them.
EXTRAS = ("kafka", "postgres", "files", "http", "avro", "gcs")


def _instructions() -> list[tuple[str, str]]:
    """Return each instruction's name and arguments, with lines put together and comments left out."""
    lines = [line for line in DOCKERFILE.splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in joined.splitlines()) if name]


def test_every_base_is_given_by_digest() -> None:
    """Images are arguments without defaults, or stages; a build with a tag alone fails."""
    stages = re.findall(r"^FROM \S+ AS (\S+)", DOCKERFILE, re.MULTILINE)
    bases = [rest.split(" ")[0] for name, rest in _instructions() if name == "FROM"]
    assert bases
    assert all(re.fullmatch(r"\$\{[A-Z]+_IMAGE\}", base) or base in stages for base in bases)
    defaults = [rest for name, rest in _instructions() if name == "ARG" and "_IMAGE=" in rest]
    assert defaults == []
    last = DOCKERFILE[DOCKERFILE.rindex("FROM ") :]
    assert "@sha256:[0-9a-f]{64}$" in last
    checked = set(re.findall(r'"\$\{([A-Z]+_IMAGE)\}"', last))
    assert checked == {base[2:-1] for base in bases}


def test_it_runs_as_a_user_by_number() -> None:
    """Kubernetes can only tell from a number that it is not root; Flink's own is 9999."""
    assert _instructions()[-1] == ("USER", "9999:9999")


def test_nothing_comes_from_a_url_and_nothing_secret_is_built_in() -> None:
    """No ADD, no curl, and no argument or variable that names a secret."""
    names = {name for name, _ in _instructions()}
    assert "ADD" not in names
    assert not re.search(r"\b(curl|wget)\b", DOCKERFILE)
    given = " ".join(rest for name, rest in _instructions() if name in ("ARG", "ENV", "LABEL"))
    assert not re.search(r"password|secret|token|_key", given, re.IGNORECASE)
    # Only what is named enters the build at all.
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert ignored[1] == "**"
    assert "**/secrets" in ignored


def test_what_is_copied_is_there_and_enters_the_build() -> None:
    """Each path of a COPY out of the context exists, and is not ignored."""
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for name, rest in _instructions():
        if name == "COPY" and "--from" not in rest:
            source = rest.split()[0]
            assert (ROOT / source).exists()
            assert source == "." or source.split("/")[0] in kept


def _locked() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    text = (ROOT / "k8s/image/requirements.txt").read_text(encoding="utf-8")
    for name, version in re.findall(r"^([a-z0-9-]+)==(\S+)", text, re.MULTILINE):
        found.setdefault(name, []).append(version)
    return found


def _wanted() -> list[Requirement]:
    found = [Requirement(text) for text in metadata.requires("tillstream") or []]
    return [
        each
        for each in found
        if each.marker is None or any(each.marker.evaluate({"extra": extra}) for extra in EXTRAS)
    ]


@pytest.mark.parametrize("requirement", _wanted(), ids=str)
def test_every_requirement_is_locked_to_a_version_that_fits(requirement: Requirement) -> None:
    """k8s/image/requirements.txt was compiled after the last change of setup.py, for all Pythons of ours."""
    versions = _locked().get(requirement.name.lower(), [])
    assert versions, f"{requirement.name}: compile k8s/image/requirements.txt again"
    assert all(version in requirement.specifier for version in versions)


def test_every_locked_file_is_known_by_its_hash() -> None:
    """`--require-hashes` refuses what has none."""
    text = (ROOT / "k8s/image/requirements.txt").read_text(encoding="utf-8")
    blocks = re.split(r"^(?=[a-z0-9-]+==)", text, flags=re.MULTILINE)[1:]
    assert blocks
    assert all("--hash=sha256:" in block for block in blocks)
