"""The settings of a server, except those of Pusher clients, hooks and logs: see config.py."""

from __future__ import annotations

from dataclasses import dataclass

from fastws.cpus import usable_cpus
from fastws.setting_definition import setting


@dataclass(slots=True, frozen=True, kw_only=True)
class ServerSettings:
    """Listening, TLS, Redis, access, limits, delivery, history and compression."""

    host: str = setting("127.0.0.1", "address to listen on", group="Listening", placeholder="ADDRESS")
    port: int = setting(
        8000, "TCP port to listen on; 0 picks a free port", minimum=0, maximum=65535, placeholder="PORT"
    )
    unix_socket: str | None = setting(
        None, "path of a Unix socket to listen on, instead of host and port", placeholder="PATH"
    )
    workers: int = setting(
        1,
        "number of server processes; more than 1 requires redis_url; auto means one per CPU (affinity, cgroup quota)",
        minimum=1,
        maximum=512,
        placeholder="N",
        count=usable_cpus,
    )
    mounts: tuple[str, ...] = setting(
        (),
        "dialect to serve at a path; PATH=none removes the one there",
        kind="path table",
        placeholder="PATH=DIALECT",
    )
    enable_realtime: bool = setting(True, "accept WebSocket connections; false refuses all of them with 503")
    drain_timeout: float = setting(
        8.0,
        "time over which clients are disconnected at shutdown; keep it below the stop timeout of your container "
        "runtime (10 s in Docker)",
        unit="seconds",
        minimum=0,
        maximum=86_400,
    )
    tls_cert: str | None = setting(
        None, "certificate chain (PEM file); enables TLS together with tls_key", group="TLS", placeholder="FILE"
    )
    tls_key: str | None = setting(None, "private key (PEM file)", placeholder="FILE")
    redis_url: str | None = setting(
        None,
        "Redis that connects several processes: redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://, "
        "or `embedded` to start one; channels are spread over several. Default: no Redis, in-memory broker",
        kind="url list",
        group="Redis",
        placeholder="URL",
        secret=True,
    )
    redis_prefix: str = setting(
        "fastws:",
        "prefix of all Redis keys and channels, except those of the two feeds",
        placeholder="PREFIX",
        may_be_empty=True,
    )
    redis_prefix_feeds: bool = setting(
        False, "put redis_prefix also before the Redis channels of jobs_channel and workspace_channel"
    )
    jobs_channel: str = setting("botrix:jobs:updates", "channel of the jobs feed, also in Redis", placeholder="CHANNEL")
    workspace_channel: str = setting(
        "workspace:{workspace_id}",
        "channel of a workspace's events, also in Redis; must contain {workspace_id}",
        placeholder="TEMPLATE",
    )
    jwt_secret: str | None = setting(
        None,
        "secret of HS256, HS384 and HS512 tokens; at least 32 bytes",
        group="Tokens and access",
        placeholder="SECRET",
        secret=True,
    )
    jwt_public_key: str | None = setting(
        None, "public key of RS, ES and EdDSA tokens: PEM text or the path of a PEM file", placeholder="PEM"
    )
    jwt_jwks_url: str | None = setting(
        None, "URL of a JWKS document with the public keys of RS, ES and EdDSA tokens", placeholder="URL"
    )
    jwt_algorithms: tuple[str, ...] = setting(
        (), "accepted algorithms. Default: those that fit the configured keys", kind="list", placeholder="ALGORITHM"
    )
    jwt_leeway: float = setting(
        30.0, "tolerance for clock differences when checking exp and nbf", unit="seconds", minimum=0, maximum=60
    )
    jwt_audience: str | None = setting(None, "required `aud` claim", placeholder="AUDIENCE")
    jwt_issuer: str | None = setting(None, "required `iss` claim", placeholder="ISSUER")
    authorizer: str | None = setting(
        None,
        "package.module:function or HTTP URL that decides who may subscribe and publish, instead of claims",
        placeholder="FUNCTION|URL",
    )
    authorizer_timeout: float = setting(
        2.0, "time limit for the authorizer; no answer means no", unit="seconds", minimum=0.01, maximum=60
    )
    broadcast_key: tuple[str, ...] = setting(
        (),
        "API keys for backends (`Authorization: Bearer KEY`); list two while rotating",
        kind="list",
        placeholder="KEY",
        secret=True,
    )
    aws_credentials: tuple[str, ...] = setting(
        (),
        "access keys for the @connections API (SigV4)",
        kind="list",
        placeholder="KEY_ID:SECRET",
        secret=True,
    )
    allow_anonymous: bool | None = setting(
        None,
        "accept clients without a token (channels and jobs dialects). "
        "Default: only direct connections from this machine",
    )
    protected_channels: tuple[str, ...] | None = setting(
        None,
        "channels that require a token which allows them. "
        "Default: user:**, workspace:**, and with a JWT key also execution:**, workflow:**; "
        "+PATTERN adds to the default; client:** always does",
        kind="list",
        placeholder="PATTERN",
    )
    allowed_origins: tuple[str, ...] | None = setting(
        None,
        "origins that browsers may connect from; * is a wildcard. "
        "Default: all; on a loopback address without trusted_proxies only this machine's",
        kind="list",
        placeholder="ORIGIN",
    )
    allowed_hosts: tuple[str, ...] | None = setting(
        None,
        "accepted values of the Host header; * is a wildcard. "
        "Default: all; on a loopback address without trusted_proxies only this machine's names",
        kind="list",
        placeholder="HOST",
    )
    public_url: str | None = setting(
        None,
        "URL by which clients reach this server. The events of event_hook name its host; "
        "without it they name the Host header of the client",
        placeholder="URL",
    )
    trusted_proxies: tuple[str, ...] = setting(
        (), "addresses or networks of proxies whose X-Forwarded-For is trusted", kind="list", placeholder="NETWORK"
    )
    proxy_protocol: bool = setting(
        False, "expect a PROXY protocol header (v1 or v2) on connections from trusted_proxies"
    )
    max_connections: int = setting(
        0, "connections per process; 0 means only the file limit counts", group="Limits", minimum=0
    )
    max_connections_per_user: int = setting(0, "connections per user; 0 means no limit", minimum=0)
    max_connections_per_ip: int = setting(
        0,
        "clients per IP address (IPv6: per /64), and, separately, plain requests; 0 means no limit",
        minimum=0,
    )
    max_channels_per_connection: int = setting(128, "subscriptions per connection", minimum=1, maximum=100_000)
    max_channels: int = setting(1_000_000, "channels per process", minimum=1)
    max_message_bytes: int = setting(
        1_048_576,
        "maximum size of a client's message (after decompression) and of an HTTP body",
        unit="bytes",
        minimum=125,
        maximum=1 << 30,
    )
    max_fragments: int = setting(4096, "fragments per message, including empty ones", minimum=1)
    message_rate: float = setting(
        100_000.0, "messages per second that one connection may send on average; 0 means no limit", minimum=0
    )
    message_burst: int = setting(200_000, "messages that one connection may send in a burst", minimum=1)
    broadcast_rate: float = setting(
        0.0,
        "publications per second over POST /broadcast; a longer list passes once and delays those after it; "
        "0 means no limit",
        minimum=0,
    )
    connect_rate: float = setting(0.0, "new connections per second, per process; 0 means no limit", minimum=0)
    handshake_timeout: float = setting(
        10.0,
        "time limit for the upgrade or an HTTP request to arrive",
        unit="seconds",
        minimum=0.1,
        maximum=3600,
    )
    keep_alive_timeout: float = setting(
        75.0,
        "time that an HTTP connection may be idle between two requests; 0 means one request per connection",
        unit="seconds",
        minimum=0,
        maximum=86_400,
    )
    ping_interval: float = setting(
        30.0, "time between pings to a silent client; 0 turns pings off", unit="seconds", minimum=0
    )
    idle_timeout: float = setting(
        120.0,
        "time without a sign of life after which a client is closed with 1001; 0 turns this off",
        unit="seconds",
        minimum=0,
    )
    max_queue_messages: int = setting(256, "messages queued per slow client", group="Queues and delivery", minimum=1)
    max_queue_bytes: int = setting(
        1_048_576, "bytes queued per slow client, including asyncio's buffer", unit="bytes", minimum=1
    )
    slow_policy: tuple[str, ...] = setting(
        ("disconnect",),
        "policy for clients whose queue is full: disconnect, drop_oldest, drop_newest or conflate; "
        "PATTERN=POLICY for some channels",
        kind="pattern table",
        placeholder="[PATTERN=]POLICY",
        choices=("disconnect", "drop_oldest", "drop_newest", "conflate"),
    )
    flush_interval: tuple[str, ...] = setting(
        ("0",),
        "milliseconds to collect publications before one joint write; 0 means one turn of the event loop; "
        "PATTERN=MS for some channels",
        kind="pattern table",
        scalar=float,
        placeholder="[PATTERN=]MS",
        unit="milliseconds",
        minimum=0,
        maximum=60_000,
    )
    priority: tuple[str, ...] = setting(
        (),
        "which publications a slow client gets first: those of high channels before, those of low ones after all "
        "others; the first pattern that matches decides; PATTERN=off for exceptions",
        kind="pattern table",
        placeholder="[PATTERN=]PRIORITY",
        choices=("high", "low", "off"),
    )
    history: tuple[str, ...] = setting(
        (),
        "keep the last COUNT publications of such channels until SECONDS after the newest, for clients that return; "
        "the first pattern that matches decides; PATTERN=off for exceptions",
        kind="pattern table",
        placeholder="[PATTERN=]COUNT/SECONDS",
        group="History",
    )
    history_bytes: int = setting(268_435_456, "memory for all histories of this process", unit="bytes", minimum=1)
    recover_limit: int = setting(1000, "publications replayed to one subscription; 0 means none", minimum=0)
    presence: tuple[str, ...] = setting(
        (),
        "channels in which clients may ask for the other members; PATTERN=count shows only their number, PATTERN=off "
        "none; the first pattern that matches decides",
        kind="pattern table",
        placeholder="PATTERN[=count]",
    )
    presence_updates: tuple[str, ...] = setting(
        (),
        "tell the subscribers of such channels who joined and left, at most once in SECONDS; 0 means once per turn of "
        "the event loop; needs presence",
        kind="pattern table",
        scalar=float,
        placeholder="[PATTERN=]SECONDS",
        unit="seconds",
        minimum=0,
        maximum=3600,
    )
    compression: str = setting("off", "permessage-deflate", choices=("off", "on"))
    compression_min_bytes: int = setting(256, "minimum size of a compressed message", unit="bytes", minimum=0)
    compression_level: int = setting(6, "zlib compression level", minimum=1, maximum=9, placeholder="LEVEL")
