"""How settings are told: by keyword in code, by variables in the environment.

Each group of settings is a class of its own (``config_*.py``); :class:`~.config.ServerConfig` is all of them together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from ..errors import UsageError

U64 = (1 << 64) - 1
DAY_MS = 86_400_000
TRUE_WORDS = frozenset(("1", "true", "TRUE", "yes", "YES", "on", "ON"))
BLANK_MEANS_NONE = ("allowed_tcp_ports", "allowed_udp_ports")
"""Fields whose variable means something when it is set to nothing."""


def setting(default: Any, *names: str, exactly_one: bool = False, **more: Any) -> Any:
    """A field that the environment calls by any of ``names``; the first that is set counts.

    ``exactly_one``: of the words that are true elsewhere only ``1`` is.
    """
    # No aliases of pydantic's: its settings read them without regard to case, and AUTH_MODE is not auth_mode.
    told = {"variables": list(names), "exactly_one": exactly_one}
    return Field(default=default, json_schema_extra=told, **more)  # type: ignore[arg-type]


def number(default: int, *names: str, least: int = 0, most: int = U64) -> Any:
    return setting(default, *names, ge=least, le=most)


class Settings(BaseSettings):
    """A group of settings. In code a wrong value is an error; :meth:`from_environment` is more patient."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", populate_by_name=True, arbitrary_types_allowed=True)

    def __init__(self, **values: Any):
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise usage_error(type(self), error) from None

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
            return value == "1" if _told(field)["exactly_one"] else value in TRUE_WORDS
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
    return tuple(_told(field)["variables"])


def _told(field: FieldInfo) -> dict[str, Any]:
    extra = field.json_schema_extra
    return dict(extra) if isinstance(extra, dict) else {"variables": (), "exactly_one": False}


def bounds(field: FieldInfo) -> tuple[int, int]:
    """Least and greatest value of a number."""
    found = {"ge": 0, "le": U64}
    for rule in field.metadata:
        for name in found:
            if hasattr(rule, name):
                found[name] = getattr(rule, name)
    return found["ge"], found["le"]


def entries(text: str) -> tuple[str, ...]:
    return tuple(part for part in (piece.strip() for piece in text.split(",")) if part)


def port_number(text: str, whole: str, least: int = 1) -> int:
    if not text.isascii() or not text.isdigit() or not least <= int(text[:6]) <= 65535 or len(text) > 5:
        raise ValueError(f"not a port in {whole!r}")
    return int(text)


def usage_error(cls: type[BaseSettings], error: ValidationError) -> UsageError:
    first = error.errors(include_url=False, include_context=False)[0]
    field = str(first["loc"][0]) if first["loc"] else ""
    known = cls.model_fields.get(field)
    name = next(iter(variables(known)), field) if known is not None else field
    text = first["msg"].removeprefix("Value error, ")
    return UsageError(f"{name}: {text}" if name else text)
