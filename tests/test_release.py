"""What is released: one version, a wheel with every file that the packages load, and a wheel that works by itself."""

import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest

import reft

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("reft", "steps", "pipelines")
# What a build reads beside the packages.
READ = ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "constraints.txt")
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
NAME = f"refusal_feature_teacher-{VERSION}"


def test_the_version_stands_in_one_place():
    assert reft.__version__ == version("refusal-feature-teacher")
    for path in ("reft", "steps", "pipelines", ".github", "ci"):
        for file in (ROOT / path).rglob("*"):
            if file.suffix in (".py", ".yml", "") and file.is_file():
                assert f'"{VERSION}"' not in file.read_text(errors="replace"), file


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of what a build needs; what it makes stays there."""
    folder = tmp_path_factory.mktemp("release") / "checkout"
    folder.mkdir()
    for name in (*PACKAGES, "ci"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "tests").mkdir()
    for name in (*READ, "tests/factories.py"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def run(folder, *command, **more):
    environment = {**os.environ, "PYTHON": sys.executable, **more}
    environment.pop("PYTHONPATH", None) if "PYTHONPATH" not in more else None
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def dist(checkout):
    """Where the build left everything."""
    if find_spec("build") is None:
        pytest.skip("build is not installed (pip install -e '.[dev]')")
    done = run(checkout, "ci/build", f"v{VERSION}", PYTHONPATH=str(Path(find_spec("build").origin).parents[1]))
    assert done.returncode == 0, done.stdout + done.stderr
    return checkout / "dist"


def files_of_our_packages():
    """Everything below them that is no by-product: code, templates, types, migrations."""
    found = (file for package in PACKAGES for file in (ROOT / package).rglob("*") if file.is_file())
    return {str(file.relative_to(ROOT)) for file in found if "__pycache__" not in file.parts}


@pytest.mark.slow
def test_every_file_of_the_packages_is_in_the_wheel_and_in_the_source(dist):
    wanted = files_of_our_packages()
    assert {Path(name).suffix for name in wanted} == {".py", ".pyi", ".j2", ".mako"}
    with zipfile.ZipFile(dist / f"{NAME}-py3-none-any.whl") as wheel:
        names = set(wheel.namelist())
    assert wanted - names == set()
    assert {name.partition("/")[0] for name in names} == {*PACKAGES, f"{NAME}.dist-info"}
    with tarfile.open(dist / f"{NAME}.tar.gz") as source:
        assert {f"{NAME}/{name}" for name in (*wanted, "pyproject.toml", "LICENSE")} <= set(source.getnames())
    assert len((dist / "notes.md").read_text()) > 100


@pytest.mark.slow
def test_a_tag_of_another_version_or_an_untold_one_is_refused(checkout):
    done = run(checkout, "ci/build", "v99.0")
    assert done.returncode == 2
    assert f"v99.0 is not v{VERSION}" in done.stderr
    told = checkout / "CHANGELOG.md"
    before = told.read_text()
    try:
        told.write_text("# Changelog\n")
        done = run(checkout, "ci/build", f"v{VERSION}")
    finally:
        told.write_text(before)
    assert done.returncode == 2
    assert "CHANGELOG.md has no section" in done.stderr


@pytest.mark.slow
def test_the_wheel_works_in_an_environment_of_its_own(checkout, dist, tmp_path):
    """Its requirements are those of this environment, beside it; everything else is as in the workflow."""
    fresh = tmp_path / "fresh"
    subprocess.run([sys.executable, "-m", "venv", fresh], check=True)
    (packages,) = fresh.glob("lib/python*/site-packages")
    # After its own packages and without what .pth files there add, so that `reft` is the wheel's.
    (packages / "requirements.pth").write_text(str(Path(pytest.__file__).parents[1]) + "\n")
    # pip reads a variable of a "no" option as the option without its "no".
    offline = {"PIP_NO_INDEX": "1", "PIP_NO_DEPS": "1", "PIP_IGNORE_INSTALLED": "1", "TMPDIR": str(tmp_path)}
    wheel = str(dist / f"{NAME}-py3-none-any.whl")
    done = run(checkout, "ci/try-wheel", wheel, str(fresh), **offline)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "installs, helps, validates and scans" in done.stdout
    assert VERSION in done.stdout
