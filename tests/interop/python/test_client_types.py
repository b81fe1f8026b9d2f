"""The Python client is typed, speaks the oldest Python that it promises, and needs nothing but Python."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import tomllib

from support.stack import SOURCE

CLIENT = SOURCE / "clients/python"
TESTS = SOURCE / "tests/interop/python"


CACHE = pathlib.Path(os.environ.get("BW_BUILD", SOURCE / "build")) / "mypy" # the types of LangGraph take long to read


def mypy(python: str, *what: pathlib.Path) -> None:
    check = subprocess.run([sys.executable, "-m", "mypy", "--strict", f"--python-version={python}",
                            f"--cache-dir={CACHE}", "--explicit-package-bases", "--no-error-summary", *map(str, what)],
                           env={**os.environ, "MYPYPATH": f"{CLIENT}/src:{TESTS}"}, capture_output=True, text=True,
                           timeout=240)
    assert check.returncode == 0, check.stdout + check.stderr


def test_the_client_is_typed() -> None:
    assert (CLIENT / "src/brakewire/py.typed").exists()
    mypy("3.10", CLIENT / "src/brakewire")


def test_and_good_to_use_with_types() -> None:
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    mypy(here, TESTS / "support", *sorted(TESTS.glob("test_client*.py")), TESTS / "test_otel_three_hops.py")


def test_it_has_no_dependency() -> None:
    project = tomllib.loads((CLIENT / "pyproject.toml").read_text())["project"]
    assert project["dependencies"] == [] and project["requires-python"] == ">=3.10"
    loaded = subprocess.run([sys.executable, "-S", "-c", "import brakewire, sys; print(brakewire.__version__)"],
                            env={"PYTHONPATH": str(CLIENT / "src"), "PYTHONDONTWRITEBYTECODE": "1"},
                            capture_output=True, text=True)
    assert loaded.stdout.strip() == project["version"], loaded.stderr
