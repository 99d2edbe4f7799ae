"""The places in `redis_url`: a Redis Cluster, or one or several servers, each given directly or by Redis Sentinel."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, unquote, urlencode

from fastws.errors import ConfigError
from fastws.redis_address import DEFAULT_PORT, RedisAddress, parse_address

SENTINEL_PORT: Final = 26379
_SCHEMES: Final = {"redis+sentinel": "redis", "rediss+sentinel": "rediss"}
_SHAPE: Final = "redis+sentinel://[user:password@]host:26379,host2:26379/SERVICE[/db]"
_CLUSTER_SCHEMES: Final = {"redis+cluster": "redis", "rediss+cluster": "rediss"}
_CLUSTER_SHAPE: Final = "redis+cluster://[user:password@]host:6379,host2:6379"
# A comma between two URLs. Those between the Sentinels of one URL are not followed by a scheme.
_BETWEEN_URLS: Final = re.compile(r",(?=\s*(?:[a-z]+(?:\+[a-z]+)?://|embedded\b))")
_CELERYS_WORD: Final = re.compile(r"([?&]ssl_cert_reqs=)CERT_([A-Z]+)\b", re.IGNORECASE)
# What stands before the path and the options.
_AUTHORITY: Final = re.compile(r"[^/?]*")
_HOST_AND_PORT: Final = re.compile(r"(\[[^\]]+\]|[^:\[\]]+)(?::([0-9]{1,5}))?")


@dataclass(slots=True, frozen=True)
class SentinelAddress:
    """The primary that `sentinels` name for `service`. `primary` has its credentials, and no valid host and port.

    `str()` returns a URL without users and passwords, safe to log.
    """

    service: str
    sentinels: tuple[RedisAddress, ...]
    primary: RedisAddress = field(repr=False)

    def __str__(self) -> str:
        scheme = "redis" if self.primary.tls is None else "rediss"
        hosts = ",".join(_host_and_port(sentinel) for sentinel in self.sentinels)
        return f"{scheme}+sentinel://{hosts}/{self.service}/{self.primary.database}"

    def at(self, host: str, port: int) -> RedisAddress:
        """Return the address of a primary at `host` and `port`."""
        return replace(self.primary, host=host, port=port)


@dataclass(slots=True, frozen=True)
class ClusterAddress:
    """A Redis Cluster: `seeds` are some of its nodes, with the credentials that all nodes share. At least one.

    `str()` returns a URL without user and password, safe to log.
    """

    seeds: tuple[RedisAddress, ...] = field(repr=False)

    def __str__(self) -> str:
        scheme = "redis" if self.seeds[0].tls is None else "rediss"
        return f"{scheme}+cluster://{','.join(map(_host_and_port, self.seeds))}"


Place = RedisAddress | SentinelAddress | ClusterAddress


def identity_of(place: Place) -> str:
    """Return the name by which channels are spread: without credentials, and the same whichever Sentinels are named."""
    if not isinstance(place, SentinelAddress):
        return str(place)
    return f"sentinel://{place.service}/{place.primary.database}"


def split_urls(text: str) -> list[str]:
    """Split `redis_url` into the URLs that it consists of."""
    return [url.strip() for url in _BETWEEN_URLS.split(text)]


def is_cluster_url(url: str) -> bool:
    """Whether `url` is that of a Redis Cluster."""
    return url.strip().partition("://")[0] in _CLUSTER_SCHEMES


def hash_tagged(prefix: bytes, channel: str) -> bytes:
    """Return what all keys of `channel` begin with, for example `fastws:{chat:1}`.

    The channel, with `{`, `}` and `%` percent-encoded, is the hash tag: all keys of a channel are in one slot.
    """
    tag = channel.replace("%", "%25").replace("{", "%7B").replace("}", "%7D")
    return b"%b{%b}" % (prefix, tag.encode("utf-8", "surrogatepass"))


def parse_places(text: str, *, setting: str = "redis_url") -> tuple[Place, ...]:
    """Parse `redis_url`, URLs separated by commas. Raises ConfigError: one line without any part of a password."""
    urls = split_urls(text)
    places = tuple(parse_place(url, setting=setting) for url in urls)
    if len(places) > 1 and any(isinstance(place, ClusterAddress) for place in places):
        raise ConfigError(f"{setting}: a Redis Cluster must be the only URL: {_CLUSTER_SHAPE}")
    identities = [identity_of(place) for place in places]
    for identity in identities:
        if identities.count(identity) > 1:
            raise ConfigError(f"{setting}: must name each server once, but names {identity} twice")
    return places


def for_redis_py(url: str) -> str:
    """Return the plain URL `url` with options as redis-py reads them: Celery's CERT_REQUIRED is `required` there."""
    return _CELERYS_WORD.sub(lambda found: found[1] + found[2].lower(), url.strip())


def plain_url(url: str) -> str:
    """Return the credentials, database and options of a Sentinel URL as a plain URL of the host `primary`."""
    return _taken_apart(url, "redis_url").plain


def url_of_node(url: str, host: str, port: int) -> str:
    """Return the plain URL of one node of the cluster at `url`: with its credentials and options."""
    before, _, after = _around_hosts(url)
    return f"{before}{f'[{host}]' if ':' in host else host}:{port}{after}"


class _Parts(NamedTuple):
    plain: str
    hosts: str
    service: str
    sentinel_username: str | None
    sentinel_password: str | None


def parse_place(url: str, *, setting: str = "redis_url") -> Place:
    """Parse one URL. Raises ConfigError."""
    if is_cluster_url(url):
        return _parse_cluster(url, setting)
    if url.strip().partition("://")[0] not in _SCHEMES:
        return parse_address(url, setting=setting)
    parts = _taken_apart(url, setting)
    primary = parse_address(parts.plain, setting=setting)
    sentinel = replace(
        primary, username=parts.sentinel_username or None, password=parts.sentinel_password or None, database=0
    )
    sentinels = tuple(_at(sentinel, part, SENTINEL_PORT, setting, _SHAPE) for part in parts.hosts.split(","))
    return SentinelAddress(parts.service, sentinels, primary)


def _taken_apart(url: str, setting: str) -> _Parts:
    scheme, _, rest = url.strip().partition("://")
    authority, _, tail = rest.partition("/")
    path, _, query = tail.partition("?")
    login, at, hosts = authority.rpartition("@")
    service, _, database = path.partition("/")
    if not service or not hosts:
        raise ConfigError(f"{setting}: must be {_SHAPE}")
    options = dict(parse_qsl(query, keep_blank_values=True))
    username, password = options.pop("sentinel_username", None), options.pop("sentinel_password", None)
    # The rest is that of a plain URL. Reading it as such checks it, and says what is wrong in the same words.
    plain = f"{_SCHEMES[scheme]}://{login}{at}primary/{database}?{urlencode(options)}"
    return _Parts(plain, hosts, unquote(service), username, password)


def _around_hosts(url: str) -> tuple[str, str, str]:
    """Split the URL of a cluster: what a plain URL of a node begins with, the hosts, and what it ends with."""
    scheme, _, rest = url.strip().partition("://")
    authority = _AUTHORITY.match(rest)
    login, at, hosts = authority[0].rpartition("@") if authority is not None else ("", "", "")
    before = f"{login}{at}"
    return f"{_CLUSTER_SCHEMES[scheme]}://{before}", hosts, rest[len(before) + len(hosts) :]


def _parse_cluster(url: str, setting: str) -> ClusterAddress:
    before, hosts, after = _around_hosts(url)
    if not hosts:
        raise ConfigError(f"{setting}: must be {_CLUSTER_SHAPE}")
    # The rest is that of a plain URL. Reading it as such checks it, and says what is wrong in the same words.
    login_of_all = parse_address(f"{before}node{after}", setting=setting)
    if login_of_all.database:
        raise ConfigError(f"{setting}: must not name a database: a Redis Cluster has only database 0")
    node = replace(login_of_all, is_cluster_node=True)
    return ClusterAddress(tuple(_at(node, part, DEFAULT_PORT, setting, _CLUSTER_SHAPE) for part in hosts.split(",")))


def _at(credentials: RedisAddress, text: str, default_port: int, setting: str, shape: str) -> RedisAddress:
    found = _HOST_AND_PORT.fullmatch(text.strip())
    port = default_port if found is None or found[2] is None else int(found[2])
    if found is None or not 0 < port < 65_536:
        raise ConfigError(f"{setting}: not a valid host and port of each server; must be {shape}")
    return replace(credentials, host=unquote(found[1].strip("[]")), port=port)


def _host_and_port(address: RedisAddress) -> str:
    host = f"[{address.host}]" if ":" in address.host else address.host
    return f"{host}:{address.port}"
