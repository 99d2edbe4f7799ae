"""Write the files that run fastws elsewhere: systemd, container, compose, Kubernetes, proxies, monitoring."""

from __future__ import annotations

import argparse
import sys
from importlib.resources import files
from pathlib import Path
from typing import Final

from fastws.errors import ConfigError

EPILOG: Final = """\
examples:
  fastws deploy-files --list
  fastws deploy-files deploy
  fastws deploy-files /etc/systemd/system fastws.service

A file that is there and differs is left alone, unless --force is given.
exit codes: 0 written, 1 a file is in the way or cannot be written, 2 a name that is none
"""

MEANINGS: Final = {
    "fastws.service": "systemd unit, hardened; reload rolls the workers",
    "Containerfile": "image for docker or podman",
    "compose.yml": "two servers, Redis and nginx on one machine",
    "kubernetes.yml": "Deployment with probes and drain, Service, disruption budget, autoscaler",
    "nginx.conf": "nginx before several servers",
    "haproxy.cfg": "HAProxy before several servers",
    "prometheus-alerts.yml": "alert rules for Prometheus",
    "grafana-dashboard.json": "dashboard for Grafana",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", nargs="?", metavar="DIR", help="where to; made if it is not there")
    parser.add_argument("name", nargs="*", metavar="FILE", help=f"only these: {', '.join(MEANINGS)}")
    parser.add_argument("--force", action="store_true", help="overwrite what differs")
    parser.add_argument("--list", action="store_true", help="say what there is, write nothing")


def run(options: argparse.Namespace) -> int:
    if options.list:
        for name, meaning in MEANINGS.items():
            print(f"{name:<24} {meaning}")
        return 0
    if options.directory is None:
        raise ConfigError("DIR: where to? `fastws deploy-files deploy` writes all files into ./deploy")
    for name in options.name:
        if name not in MEANINGS:
            raise ConfigError(f"FILE: {name!r} is none of {', '.join(MEANINGS)}")
    try:
        return _write(Path(options.directory), options.name or list(MEANINGS), overwrites=options.force)
    except OSError as error:
        print(f"fastws: {error.filename or options.directory}: {error.strerror}", file=sys.stderr)
        return 1


def content(name: str) -> str:
    """The file of this name, as the package brings it."""
    return (files("fastws") / "deploy" / name).read_text()


def _write(directory: Path, names: list[str], *, overwrites: bool) -> int:
    directory.mkdir(parents=True, exist_ok=True)
    is_clear = True
    for name in names:
        path, text = directory / name, content(name)
        if path.exists() and not overwrites and path.read_text() != text:
            print(f"fastws: {path} is there and differs; --force overwrites it", file=sys.stderr)
            is_clear = False
            continue
        path.write_text(text)
        print(f"{path}  {MEANINGS[name]}")
    return 0 if is_clear else 1
