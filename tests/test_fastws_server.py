"""The other project on PyPI that is named fastws, installed beside ours or instead of it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
TEXTS = (".md", ".py", ".js", ".toml", ".yml", ".service", ".conf", ".cfg", ".html", "Containerfile", "run")


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": f"{folder}:{PROJECT}"}
    return subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def distribution(folder: Path, entry_points: str = "") -> Path:
    metadata = folder / "fastws-0.1.7.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: fastws\nVersion: 0.1.7\n")
    if entry_points:
        (metadata / "entry_points.txt").write_text(f"[console_scripts]\n{entry_points}\n")
    return metadata


@pytest.mark.parametrize("command", [("-m", "fastws", "serve"), ("-c", "import fastws_server as f; exit(f.main())")])
def test_the_command_refuses_beside_the_other_project(command: tuple[str, ...], tmp_path: Path) -> None:
    metadata = distribution(tmp_path)
    done = run(tmp_path, *command)
    assert done.returncode == 1
    assert done.stdout == ""
    assert re.fullmatch(rf"fastws: {metadata} is another project, .*\(pip uninstall fastws\).*\n", done.stderr)


def test_the_command_refuses_where_the_other_project_is_imported(tmp_path: Path) -> None:
    distribution(tmp_path)
    (tmp_path / "fastws").mkdir()
    (tmp_path / "fastws" / "__init__.py").write_text("import a_package_that_is_not_installed\n")
    done = run(tmp_path, "-c", "import fastws_server as f; exit(f.main())")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "is another project" in done.stderr


def test_the_command_refuses_where_the_other_project_was_removed(tmp_path: Path) -> None:
    (tmp_path / "fastws" / "cli").mkdir(parents=True)
    (tmp_path / "fastws_server").symlink_to(PROJECT / "fastws_server")
    program = f"import sys; sys.path.remove({str(PROJECT)!r}); import fastws_server as f; sys.exit(f.main())"
    done = run(tmp_path, "-S", "-c", program)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"fastws: files of fastws-server are missing; install .*\n", done.stderr)


def test_an_earlier_version_of_ours_is_no_other_project(tmp_path: Path) -> None:
    distribution(tmp_path, "fastws = fastws.cli:main")
    done = run(tmp_path, "-m", "fastws", "--version")
    assert (done.returncode, done.stderr) == (0, "")


def test_the_distribution_is_named_fastws_server() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    assert project["name"] == "fastws-server"
    assert project["scripts"] == {"fastws": "fastws_server:main"}
    assert "urls" not in project  # the page of `fastws` on PyPI is that of the other project


def test_nothing_installs_the_other_project() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=PROJECT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a checkout of git")
    found = [
        f"{name}:{number}: {line.strip()}"
        for name in listed.stdout.splitlines()
        if name.endswith(TEXTS) and name != "fastws/docs/changelog.md"
        for number, line in enumerate((PROJECT / name).read_text("utf-8").splitlines(), 1)
        if re.search(r"(pip|uv|pipx)\S* (install|run) (-\S+ )*['\"]?fastws(?!-server)(\b|\[)", line)
    ]
    assert found == []
