"""Write deployment files: systemd, container, compose, Kubernetes, proxies, monitoring."""

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

Existing files with other contents are kept unless --force is given.
exit codes: 0 written, 1 a file exists or cannot be written, 2 unknown file
"""

MEANINGS: Final = {
    "fastws.service": "systemd unit, hardened; reload replaces the workers",
    "fastws.socket": "systemd socket for fastws.service (optional)",
    "Containerfile": "image for docker or podman",
    "compose.yml": "docker compose: two servers, Redis and nginx",
    "kubernetes.yml": "Kubernetes: Deployment, Service, PodDisruptionBudget, HorizontalPodAutoscaler",
    "nginx.conf": "nginx as a load balancer",
    "haproxy.cfg": "HAProxy as a load balancer",
    "Caddyfile": "Caddy as a load balancer",
    "prometheus-alerts.yml": "alert rules for Prometheus",
    "grafana-dashboard.json": "dashboard for Grafana",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", nargs="?", metavar="DIR", help="directory to write to; created if missing")
    parser.add_argument("name", nargs="*", metavar="FILE", help=f"files to write [all]: {', '.join(MEANINGS)}")
    parser.add_argument("--force", action="store_true", help="overwrite existing files")
    parser.add_argument("--list", action="store_true", help="list the files and write nothing")


def run(options: argparse.Namespace) -> int:
    if options.list:
        for name, meaning in MEANINGS.items():
            print(f"{name:<24} {meaning}")
        return 0
    if options.directory is None:
        raise ConfigError("missing DIR, for example: fastws deploy-files ./deploy")
    for name in options.name:
        if name not in MEANINGS:
            raise ConfigError(f"FILE: must be one of {', '.join(MEANINGS)}, not {name!r}")
    try:
        return _write(Path(options.directory), options.name or list(MEANINGS), overwrites=options.force)
    except OSError as error:
        place = error.filename or options.directory
        print(f"fastws: cannot write {place}: {error.strerror}; choose another directory", file=sys.stderr)
        return 1


def content(name: str) -> str:
    """Return the text of a deployment file."""
    return (files("fastws") / "deploy" / name).read_text()


def _write(directory: Path, names: list[str], *, overwrites: bool) -> int:
    directory.mkdir(parents=True, exist_ok=True)
    all_written = True
    for name in names:
        path, text = directory / name, content(name)
        if path.exists() and not overwrites and path.read_text() != text:
            print(f"fastws: {path} exists and differs; use --force to overwrite it", file=sys.stderr)
            all_written = False
            continue
        path.write_text(text)
        print(f"{path}  {MEANINGS[name]}")
    return 0 if all_written else 1
