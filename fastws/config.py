"""Every setting, defined once: its name, type, default and meaning serve the flag, the environment, the TOML file
and the README's table."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any


def setting(default: Any, meaning: str, *, kind: str = "", secret: bool = False, choices: tuple[str, ...] = ()) -> Any:
    """A setting's one definition. `kind` refines the annotation: list, duration, pattern table, path table."""
    metadata = {"meaning": meaning, "kind": kind, "secret": secret, "choices": choices}
    return field(default=default, metadata=metadata)


@dataclass(slots=True, frozen=True, kw_only=True)
class Config:
    """The settings of one server. Times in seconds unless the meaning says otherwise, sizes in bytes."""

    host: str = setting("127.0.0.1", "address to listen on")
    port: int = setting(8000, "TCP port to listen on; 0 = any free one")
    unix_socket: str | None = setting(None, "path of a Unix socket to listen on instead of host and port")
    workers: int = setting(1, "processes; more than 1 needs redis_url")
    tls_cert: str | None = setting(None, "path of the certificate chain (PEM); with tls_key the port speaks TLS")
    tls_key: str | None = setting(None, "path of the private key (PEM)")
    redis_url: str | None = setting(
        None,
        "redis://, rediss:// or unix:// of the Redis that joins processes; none = in-memory broker",
        secret=True,
    )
    redis_prefix: str = setting("fastws:", "what every key and channel of ours in Redis begins with")
    jobs_channel: str = setting("botrix:jobs:updates", "Redis channel and channel name of the jobs feed")
    workspace_channel: str = setting(
        "workspace:{workspace_id}", "Redis channel and channel name of a workspace's events"
    )
    jwt_secret: str | None = setting(None, "secret of HS256/384/512 tokens, 32 bytes or more", secret=True)
    jwt_public_key: str | None = setting(None, "public key of RS/ES/EdDSA tokens: PEM text or the path of a PEM file")
    jwt_jwks_url: str | None = setting(None, "URL of a JWKS document with the public keys of RS/ES/EdDSA tokens")
    jwt_algorithms: tuple[str, ...] = setting(
        (), "algorithms accepted; default: those of the kinds of key that are configured", kind="list"
    )
    jwt_leeway: float = setting(30.0, "seconds by which exp and nbf may be off")
    jwt_audience: str | None = setting(None, "required `aud` of a token")
    jwt_issuer: str | None = setting(None, "required `iss` of a token")
    authorizer: str | None = setting(
        None, "who decides instead of claims: package.module:function, or the URL of an HTTP callback"
    )
    authorizer_timeout: float = setting(2.0, "seconds until an authorizer that has not answered counts as a refusal")
    broadcast_key: tuple[str, ...] = setting(
        (),
        "keys that backends send as Bearer; a new one beside the old for rotation",
        kind="list",
        secret=True,
    )
    aws_credentials: tuple[str, ...] = setting(
        (), "KEY_ID:SECRET pairs that may call the @connections API", kind="list", secret=True
    )
    allow_anonymous: bool | None = setting(
        None,
        "channels and jobs dialects without a token; default: only for direct connections from this machine",
        kind="boolean",
    )
    protected_channels: tuple[str, ...] | None = setting(
        None,
        "patterns nobody subscribes or sends to without a token that allows it; "
        "default: user:**, workspace:**, and with a JWT key execution:**, workflow:**",
        kind="list",
    )
    allowed_origins: tuple[str, ...] = setting(
        ("*",), "origins of browsers that may connect; * inside a name is a wildcard", kind="list"
    )
    allowed_hosts: tuple[str, ...] = setting(
        ("*",), "values of the Host header that are served; * inside a name is a wildcard", kind="list"
    )
    trusted_proxies: tuple[str, ...] = setting(
        (), "addresses or networks of proxies whose X-Forwarded-For is believed", kind="list"
    )
    proxy_protocol: bool = setting(
        False, "expect the PROXY protocol (v1 or v2) from trusted_proxies before the request"
    )
    enable_realtime: bool = setting(True, "false refuses every upgrade with 503")
    max_connections: int = setting(0, "connections of this process; 0 = bounded by the file limit only")
    max_connections_per_user: int = setting(0, "connections of one user; 0 = no limit")
    max_connections_per_ip: int = setting(
        0, "clients from one address (IPv6: one /64), and as many plain requests beside them; 0 = no limit"
    )
    max_channels_per_connection: int = setting(128, "channels one connection may be subscribed to")
    max_channels: int = setting(1_000_000, "channels of this process")
    max_message_bytes: int = setting(
        1_048_576, "largest message of a client, after decompression, and largest HTTP body"
    )
    max_fragments: int = setting(4096, "fragments of one message, empty ones included")
    max_queue_messages: int = setting(256, "messages that may wait for one client")
    max_queue_bytes: int = setting(1_048_576, "bytes that may wait for one client, what the transport holds included")
    slow_policy: tuple[str, ...] = setting(
        ("disconnect",),
        "what happens to a client whose queue is full: disconnect, drop_oldest, drop_newest, conflate; "
        "PATTERN=POLICY for some channels",
        kind="pattern table",
        choices=("disconnect", "drop_oldest", "drop_newest", "conflate"),
    )
    flush_interval: tuple[str, ...] = setting(
        ("0",),
        "milliseconds that publications may wait to be joined into one write, 0 = one loop turn; "
        "PATTERN=MS for some channels",
        kind="pattern table",
    )
    ping_interval: float = setting(30.0, "seconds between pings to a silent client; 0 = none")
    idle_timeout: float = setting(120.0, "seconds without a sign of life until a client is closed with 1001")
    handshake_timeout: float = setting(10.0, "seconds from accept to the end of the upgrade or first request")
    keep_alive_timeout: float = setting(
        75.0, "seconds that an HTTP connection may be idle between two requests; 0 = one request each"
    )
    message_rate: float = setting(100_000.0, "messages a second one connection may send on average; 0 = no limit")
    message_burst: int = setting(200_000, "messages one connection may send at once")
    broadcast_rate: float = setting(0.0, "publications a second accepted by POST /broadcast; 0 = no limit")
    connect_rate: float = setting(0.0, "upgrades a second this process accepts; 0 = no limit")
    drain_timeout: float = setting(
        8.0,
        "seconds over which clients are closed at a stop; containers are killed after 10, raise both together",
    )
    compression: str = setting("off", "permessage-deflate", choices=("off", "on"))
    compression_min_bytes: int = setting(256, "smallest message that is compressed")
    compression_level: int = setting(6, "zlib level, 1 to 9")
    mounts: tuple[str, ...] = setting(
        (),
        "PATH=DIALECT: adds to or overrides where dialects are mounted; =none takes one away",
        kind="path table",
    )
    metrics_address: str | None = setting(
        None, "HOST:PORT of an address of its own for /metrics; none = the public port"
    )
    metrics_hook: str | None = setting(
        None,
        "package.module:function(workspace, metric_type) whose result answers request_metrics; none = the last update",
    )
    event_hook: str | None = setting(None, "application hook for connection events: package.module:function or URL")
    log_format: str = setting("auto", "auto = text on a terminal, JSON otherwise", choices=("auto", "json", "text"))
    log_level: str = setting("info", "least severe level that is logged", choices=("debug", "info", "warning", "error"))


SETTINGS = {f.name: f for f in fields(Config)}
