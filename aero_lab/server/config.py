"""What the proxy server can be told, in code or by the ``AERO_L2_*`` variables of the environment.

In code (``ServerConfig(max_connections=8)``) a wrong value is an error. From the environment
(:meth:`ServerConfig.from_environment`) blank variables count as unset, and numbers are read as the original reads them:
one that is no number, or is too small, leaves the default; one that is too large means the most there is. Everything
else that is wrong (an address, an origin, a forward, a mode) refuses to start with one line that names the variable.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from ..errors import AeroLabError, UsageError
from ..framing.l2_tunnel import L2Limits
from ..lan.config import GATEWAY6
from ..limits import (
    CONTROL_ARENA,
    ETHERNET_OVERHEAD,
    IPV6_MTU_MIN,
    LAN_DNS_CACHE,
    LAN_DNS_DEFAULT_TTL,
    LAN_DNS_MAX_TTL,
    LAN_DNS_PENDING,
    LAN_TCP_FLOWS,
    LAN_UDP_FLOWS,
    MTU_DEFAULT,
    MTU_MAX,
    MTU_MIN,
    TUNNEL_CONTROL,
    TUNNEL_FRAME,
)
from ..wire.address import ip
from .auth import Auth, choose_auth
from .hosts import BadHost, parse_authority
from .origin import OriginRules

U64 = (1 << 64) - 1
DAY_MS = 86_400_000
TRUE_WORDS = frozenset(("1", "true", "TRUE", "yes", "YES", "on", "ON"))
Endpoint = tuple[bytes, int]
Target = tuple[str, int]
_LARGEST = CONTROL_ARENA // 2
"""Of a payload limit: whatever is larger by one must still fit where messages are looked at one by one."""
BLANK_MEANS_NONE = ("allowed_tcp_ports", "allowed_udp_ports")
"""Fields whose variable means something when it is set to nothing."""


def _setting(default: Any, *names: str, **more: Any) -> Any:
    """A field that the environment calls by any of ``names``; the first that is set counts."""
    return Field(default=default, validation_alias=AliasChoices(*names), **more)


def _number(default: int, *names: str, least: int = 0, most: int = U64) -> Any:
    return _setting(default, *names, ge=least, le=most)


class ServerConfig(BaseSettings):
    """Settings of one proxy. Times are milliseconds where the name says so, else seconds; sizes are bytes."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", populate_by_name=True, arbitrary_types_allowed=True)

    # Where and how it listens
    bind: str = _setting("127.0.0.1:8090", "AERO_L2_PROXY_LISTEN_ADDR", "AERO_L2_PROXY_BIND_ADDR")
    """``ip:port``; port 0 lets the system choose."""
    shutdown_grace_ms: int = _number(3000, "AERO_L2_SHUTDOWN_GRACE_MS", most=DAY_MS)
    audit_log: str | None = _setting(None, "AERO_L2_AUDIT_LOG")
    """File that gets one JSON line a record; ``-`` is standard error."""

    # Who may come in
    auth_mode: str | None = _setting(None, "AERO_L2_AUTH_MODE")
    api_key: SecretStr | None = _setting(None, "AERO_L2_API_KEY", "AERO_L2_TOKEN")
    session_secret: SecretStr | None = _setting(
        None, "AERO_GATEWAY_SESSION_SECRET", "SESSION_SECRET", "AERO_L2_SESSION_SECRET"
    )
    """Not used yet; it is looked at so that nobody believes in a check that is not made."""
    open: bool = _setting(False, "AERO_L2_OPEN", json_schema_extra={"exactly_one": True})
    """Skip the Origin check."""
    insecure_allow_no_auth: bool = _setting(
        False, "AERO_L2_INSECURE_ALLOW_NO_AUTH", json_schema_extra={"exactly_one": True}
    )
    allowed_origins: Annotated[tuple[str, ...], NoDecode] = _setting((), "AERO_L2_ALLOWED_ORIGINS", "ALLOWED_ORIGINS")
    allowed_origins_extra: Annotated[tuple[str, ...], NoDecode] = _setting((), "AERO_L2_ALLOWED_ORIGINS_EXTRA")
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = _setting((), "AERO_L2_ALLOWED_HOSTS")
    trust_proxy: bool = _setting(False, "AERO_L2_TRUST_PROXY")
    """Believe ``Forwarded`` and ``X-Forwarded-For`` about the client's address."""
    trust_proxy_host: bool = _setting(False, "AERO_L2_TRUST_PROXY_HOST")
    """Believe ``Forwarded`` and ``X-Forwarded-Host`` about the host asked for."""
    max_connections: int = _number(64, "AERO_L2_MAX_CONNECTIONS")
    max_connections_per_session: int = _number(
        0, "AERO_L2_MAX_CONNECTIONS_PER_SESSION", "AERO_L2_MAX_TUNNELS_PER_SESSION"
    )
    """Of one session cookie or JWT; without these it counts nothing yet."""
    max_connections_per_ip: int = _number(0, "AERO_L2_MAX_CONNECTIONS_PER_IP")

    # The tunnel
    max_frame_payload: int = _number(0, "AERO_L2_MAX_FRAME_PAYLOAD", "AERO_L2_MAX_FRAME_SIZE", most=_LARGEST)
    """0: 2048, or more where the MTU needs it."""
    max_control_payload: int = _number(0, "AERO_L2_MAX_CONTROL_PAYLOAD", most=_LARGEST)
    """0: 256."""
    max_bytes_per_connection: int = _number(0, "AERO_L2_MAX_BYTES_PER_CONNECTION")
    max_frames_per_second: int = _number(0, "AERO_L2_MAX_FRAMES_PER_SECOND")
    ping_interval_ms: int = _number(0, "AERO_L2_PING_INTERVAL_MS", most=DAY_MS)
    idle_timeout_ms: int = _number(0, "AERO_L2_IDLE_TIMEOUT_MS", most=DAY_MS)
    ws_send_buffer: int = _number(64, "AERO_L2_WS_SEND_BUFFER", least=1, most=65536)

    # What lies behind it
    mtu: int = _number(MTU_DEFAULT, "AERO_L2_MTU", least=MTU_MIN, most=MTU_MAX)
    gateway6: str = _setting("auto", "AERO_L2_GATEWAY6")
    """The gateway's IPv6 address in a /64 of the guests; ``auto``: ``fd00:aee0::2`` where the MTU allows IPv6; ``off``:
    no IPv6."""
    ack_policy: str = _setting("early", "AERO_L2_ACK_POLICY", pattern="^(early|mirror)$")
    """``early``: bytes of the guest are acknowledged when the proxy has them; ``mirror``: when the far TCP has."""
    allowed_tcp_ports: Annotated[frozenset[int] | None, NoDecode] = _setting(None, "AERO_L2_ALLOWED_TCP_PORTS")
    allowed_udp_ports: Annotated[frozenset[int] | None, NoDecode] = _setting(None, "AERO_L2_ALLOWED_UDP_PORTS")
    allowed_domains: Annotated[tuple[str, ...], NoDecode] = _setting((), "AERO_L2_ALLOWED_DOMAINS")
    blocked_domains: Annotated[tuple[str, ...], NoDecode] = _setting((), "AERO_L2_BLOCKED_DOMAINS")
    allow_private_ips: bool = _setting(False, "AERO_L2_ALLOW_PRIVATE_IPS")
    dns_a: Annotated[dict[str, bytes], NoDecode] = _setting({}, "AERO_L2_DNS_A")
    tcp_forward: Annotated[dict[Endpoint, Target], NoDecode] = _setting({}, "AERO_L2_TCP_FORWARD")
    udp_forward: Annotated[dict[Endpoint, Target], NoDecode] = _setting({}, "AERO_L2_UDP_FORWARD")
    dns_lookup_timeout_ms: int = _number(2000, "AERO_L2_DNS_LOOKUP_TIMEOUT_MS", most=60_000)
    dns_max_ttl_secs: int = _number(LAN_DNS_MAX_TTL, "AERO_L2_DNS_MAX_TTL_SECS", most=(1 << 31) - 1)
    dns_default_ttl_secs: int = _number(LAN_DNS_DEFAULT_TTL, "AERO_L2_DNS_DEFAULT_TTL_SECS", most=(1 << 31) - 1)
    tcp_connect_timeout_ms: int = _number(5000, "AERO_L2_TCP_CONNECT_TIMEOUT_MS", least=1, most=DAY_MS)
    stack_max_tcp_connections: int = _number(LAN_TCP_FLOWS, "AERO_L2_STACK_MAX_TCP_CONNECTIONS", most=65535)
    stack_max_pending_dns: int = _number(LAN_DNS_PENDING, "AERO_L2_STACK_MAX_PENDING_DNS", most=65535)
    stack_max_dns_cache_entries: int = _number(LAN_DNS_CACHE, "AERO_L2_STACK_MAX_DNS_CACHE_ENTRIES", most=1_000_000)
    stack_max_buffered_tcp_bytes: int = _number(
        262_144, "AERO_L2_STACK_MAX_BUFFERED_TCP_BYTES_PER_CONN", most=67_108_864
    )
    """Bytes of one connection held for a far side that does not take them; the window offered to the guest."""
    max_udp_flows: int = _number(LAN_UDP_FLOWS, "AERO_L2_MAX_UDP_FLOWS_PER_TUNNEL", most=65535)
    """0: as many as the range allows."""
    udp_flow_idle_timeout_ms: int = _number(60_000, "AERO_L2_UDP_FLOW_IDLE_TIMEOUT_MS", most=DAY_MS)

    # Capture
    capture_dir: str | None = _setting(None, "AERO_L2_CAPTURE_DIR")
    capture_max_bytes: int = _number(67_108_864, "AERO_L2_CAPTURE_MAX_BYTES")
    capture_flush_interval_ms: int = _number(1000, "AERO_L2_CAPTURE_FLUSH_INTERVAL_MS", most=DAY_MS)

    capture_snap: int = _number(0, "AERO_L2_CAPTURE_SNAP", most=65535)
    """Bytes of each frame that are kept at most; 0: all."""
    capture_headers: bool = _setting(False, "AERO_L2_CAPTURE_HEADERS")
    """Keep the headers of frames only: no payload, no names, no leases."""

    # What it says about itself
    version: str | None = _setting(None, "AERO_L2_PROXY_VERSION", "VERSION")
    git_sha: str = _setting("dev", "AERO_L2_PROXY_GIT_SHA", "GIT_SHA")
    built_at: str = _setting("", "AERO_L2_PROXY_BUILD_TIMESTAMP", "BUILD_TIMESTAMP")

    # Known from the original, without effect here
    tcp_send_buffer: int = _number(32, "AERO_L2_TCP_SEND_BUFFER")
    """Segments the original queues before it resets a connection. Here the window stops the guest instead."""
    tokio_worker_threads: int = _number(0, "AERO_TOKIO_WORKER_THREADS")

    def __init__(self, **values: Any):
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise _usage_error(type(self), error) from None

    @classmethod
    def settings_customise_sources(cls, settings_cls: Any, init_settings: Any, **_: Any) -> tuple[Any, ...]:
        # The environment is read on request only: a lab in a notebook must not change with what is exported there.
        return (init_settings,)

    @classmethod
    def from_environment(
        cls, environ: Mapping[str, str], notes: list[str] | None = None, *, port: int | None = None, **overrides: Any
    ) -> Self:
        """Settings of a process.

        Parameters
        ----------
        environ: the variables.
        notes: gets a line for each number that was passed over.
        port: in place of that of the address to listen at.
        overrides: values by field, as from a command line; they win where they are not None.
        """
        source = Environment(cls, environ)
        values = source()
        if notes is not None:
            notes.extend(source.notes)
        values.update((name, value) for name, value in overrides.items() if value is not None)
        if port is not None:
            bind = str(values.get("bind", cls.model_fields["bind"].default))
            values["bind"] = f"{bind.rpartition(':')[0]}:{port}"
        return cls(**values)

    # What the values must be ----------------------------------------------------------------------------------------

    @field_validator(
        "allowed_origins",
        "allowed_origins_extra",
        "allowed_hosts",
        "allowed_domains",
        "blocked_domains",
        mode="before",
    )
    @classmethod
    def _list(cls, value: Any) -> Any:
        return _entries(value) if isinstance(value, str) else value

    @field_validator("allowed_tcp_ports", "allowed_udp_ports", mode="before")
    @classmethod
    def _ports(cls, value: Any) -> Any:
        return frozenset(_port(entry, entry, 0) for entry in _entries(value)) if isinstance(value, str) else value

    @field_validator("dns_a", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        return dict(map(_name_entry, _entries(value))) if isinstance(value, str) else value

    @field_validator("tcp_forward", "udp_forward", mode="before")
    @classmethod
    def _forwards(cls, value: Any) -> Any:
        return dict(map(_forward_entry, _entries(value))) if isinstance(value, str) else value

    @field_validator("bind")
    @classmethod
    def _address(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        try:
            ip(host.removeprefix("[").removesuffix("]") if host.startswith("[") else host)
            _port(port, value, 0)
        except AeroLabError:
            raise ValueError(f"must be ip:port, not {value!r}") from None
        return value

    @field_validator("gateway6")
    @classmethod
    def _gateway6(cls, value: str) -> str:
        try:
            sound = value in ("auto", "off") or len(ip(value)) == 16
        except UsageError:
            sound = False
        if not sound:
            raise ValueError(f"must be an IPv6 address, auto or off, not {value!r}")
        return value

    @field_validator("allowed_origins", "allowed_origins_extra")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        try:
            OriginRules.of(value)
        except UsageError as error:
            raise ValueError(str(error)) from None
        return value

    @field_validator("allowed_hosts")
    @classmethod
    def _hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for entry in value:
            try:
                parse_authority(entry, "http")
            except BadHost as error:
                raise ValueError(f"not a host: {entry!r} ({error})") from None
        return value

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.ping_interval_ms and self.limits.control < 8:
            raise ValueError("PINGs (AERO_L2_PING_INTERVAL_MS) need AERO_L2_MAX_CONTROL_PAYLOAD to be 8 or more")
        if self.gateway6 not in ("auto", "off") and self.lan_mtu < IPV6_MTU_MIN:
            raise ValueError(f"IPv6 (AERO_L2_GATEWAY6) needs an MTU of {IPV6_MTU_MIN} or more, not {self.lan_mtu}")
        return self

    # What follows from them -----------------------------------------------------------------------------------------

    @property
    def host(self) -> str:
        """Address to listen on."""
        host = self.bind.rpartition(":")[0]
        return host.removeprefix("[").removesuffix("]")

    @property
    def port(self) -> int:
        return int(self.bind.rpartition(":")[2])

    @property
    def limits(self) -> L2Limits:
        """Payload limits of tunnel messages."""
        frame = self.max_frame_payload or max(TUNNEL_FRAME, self.mtu + ETHERNET_OVERHEAD)
        return L2Limits(frame, self.max_control_payload or TUNNEL_CONTROL)

    @property
    def lan_mtu(self) -> int:
        """MTU of the guests' networks: what was asked for, or as much of it as a FRAME message carries."""
        return max(MTU_MIN, min(self.mtu, self.limits.frame - ETHERNET_OVERHEAD))

    @property
    def gateway6_address(self) -> bytes | None:
        """Packed, None without IPv6."""
        if self.gateway6 == "off" or self.lan_mtu < IPV6_MTU_MIN:
            return None
        return GATEWAY6 if self.gateway6 == "auto" else ip(self.gateway6)

    @property
    def origins(self) -> OriginRules:
        return OriginRules.of((*self.allowed_origins, *self.allowed_origins_extra))

    def auth(self) -> Auth:
        """The rule for credentials. Each call makes a token of its own when one has to be made."""
        return choose_auth(
            self.auth_mode,
            self.api_key.get_secret_value() if self.api_key else None,
            self.session_secret.get_secret_value() if self.session_secret else None,
            self.open and self.insecure_allow_no_auth,
        )


class Environment(PydanticBaseSettingsSource):
    """Reads variables the way the original does; :attr:`notes` tells what it passed over."""

    def __init__(self, settings_cls: type[BaseSettings], environ: Mapping[str, str]):
        super().__init__(settings_cls)
        self._environ = environ
        self.notes: list[str] = []

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """The value of the first variable that is set, its name, and no."""
        for name in variables(field):
            text = self._environ.get(name)
            if text is not None and (text.strip() or field_name in BLANK_MEANS_NONE):
                return text.strip(), name, False
        return None, field_name, False

    def prepare_field_value(self, field_name: str, field: FieldInfo, value: Any, value_is_complex: bool) -> Any:
        """The text as the field's type; None: as if it were unset."""
        if field.annotation is bool:
            exact = isinstance(field.json_schema_extra, dict) and "exactly_one" in field.json_schema_extra
            return value == "1" if exact else value in TRUE_WORDS
        if field.annotation is int:
            return self._number(field, value)
        return value

    def _number(self, field: FieldInfo, text: str) -> int | None:
        least, most = bounds(field)
        digits = text.removeprefix("+")
        if not (digits.isascii() and digits.isdigit() and len(digits) <= 20) or int(digits) < least:
            return None
        return min(int(digits), most)

    def __call__(self) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name, field in self.settings_cls.model_fields.items():
            text, variable, _ = self.get_field_value(field, name)
            if text is None:
                continue
            value = self.prepare_field_value(name, field, text, False)
            if value is None:
                self.notes.append(f"{variable}={text!r} is no number in its range; the default counts")
            else:
                values[name] = value
        return values


def variables(field: FieldInfo) -> tuple[str, ...]:
    """Names of the variables that set a field."""
    alias = field.validation_alias
    return tuple(str(name) for name in alias.choices) if isinstance(alias, AliasChoices) else ()


def bounds(field: FieldInfo) -> tuple[int, int]:
    """Least and greatest value of a number."""
    found = {"ge": 0, "le": U64}
    for rule in field.metadata:
        for name in found:
            if hasattr(rule, name):
                found[name] = getattr(rule, name)
    return found["ge"], found["le"]


def _entries(text: str) -> tuple[str, ...]:
    return tuple(part for part in (piece.strip() for piece in text.split(",")) if part)


def _port(text: str, whole: str, least: int = 1) -> int:
    if not text.isascii() or not text.isdigit() or not least <= int(text[:6]) <= 65535 or len(text) > 5:
        raise ValueError(f"not a port in {whole!r}")
    return int(text)


def _name_entry(entry: str) -> tuple[str, bytes]:
    name, equals, address = (part.strip() for part in entry.partition("="))
    name = name.rstrip(".").lower()
    try:
        packed = ip(address)
    except UsageError:
        packed = b""
    if not equals or not name or len(packed) != 4:
        raise ValueError(f"must be name=ipv4, not {entry!r}")
    return name, packed


def _forward_entry(entry: str) -> tuple[Endpoint, Target]:
    left, equals, right = (part.strip() for part in entry.partition("="))
    address, colon, port = left.rpartition(":")
    host, colon2, host_port = right.rpartition(":")
    try:
        packed = ip(address)
        if not (equals and colon and colon2) or len(packed) != 4:
            raise ValueError
        target = _port(port, entry), _port(host_port, entry)
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
            if len(ip(host)) != 16:
                raise ValueError
        elif not host or ":" in host or any(character.isspace() for character in host):
            raise ValueError
    except (ValueError, UsageError):
        raise ValueError(f"must be ipv4:port=host:port, not {entry!r}") from None
    return (packed, target[0]), (host, target[1])


def _usage_error(cls: type[ServerConfig], error: ValidationError) -> UsageError:
    first = error.errors(include_url=False, include_context=False)[0]
    field = str(first["loc"][0]) if first["loc"] else ""
    known = cls.model_fields.get(field)
    name = next(iter(variables(known)), field) if known is not None else field
    text = first["msg"].removeprefix("Value error, ")
    return UsageError(f"{name}: {text}" if name else text)
