"""The place for the decoding of bodies: JSON only, strictly, straight into the struct that the handler asks for."""

from collections.abc import Generator
from typing import Any, cast

import msgspec
from litestar import Request
from litestar.dto import AbstractDTO, DTOFieldDefinition
from litestar.typing import FieldDefinition

from shared.errors import WrongMediaType
from shared.schemas.requests import Body
from shared.web.problems import bad_body


class StrictBody(AbstractDTO[Body]):
    """Decodes `data` of every handler.

    Litestar's own way turns "3" into 3 and reads JSON from any media type, with which a foreign page could post here.
    """

    def decode_bytes(self, value: bytes) -> Any:
        """The struct, or the refusal that names what is wrong."""
        connection = cast("Request[Any, Any, Any]", self.asgi_connection)
        if connection.content_type[0] != "application/json":
            raise WrongMediaType(f"Send JSON as application/json, not as {connection.content_type[0] or 'nothing'!r}.")
        wanted = connection.route_handler.parsed_data_field
        assert wanted is not None  # noqa: S101  a handler without `data` has no body decoded
        try:
            return msgspec.json.decode(value, type=wanted.annotation)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise bad_body(error, _unknown_fields(value, wanted.annotation)) from error

    @classmethod
    def create_for_field_definition(
        cls, field_definition: FieldDefinition, handler_id: str, backend_cls: Any = None
    ) -> None:
        """Nothing to prepare."""

    @classmethod
    def create_openapi_schema(
        cls,
        field_definition: FieldDefinition,
        handler_id: str,  # noqa: ARG003  the base's signature
        schema_creator: Any,
    ) -> Any:
        """The schema of the struct itself."""
        return schema_creator.for_field_definition(field_definition)

    @classmethod
    def generate_field_definitions(
        cls,
        model_type: type[Any],  # noqa: ARG003  the base's signature
    ) -> Generator[DTOFieldDefinition, None, None]:
        """No fields are copied."""
        yield from ()

    @classmethod
    def detect_nested_field(cls, field_definition: FieldDefinition) -> bool:  # noqa: ARG003  the base's signature
        """No fields are copied."""
        return False


def _unknown_fields(body: bytes, wanted: type[Body]) -> list[str]:
    """All unknown fields of the outermost object, since the decoder stops at the first."""
    try:
        raw = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return []
    return sorted(raw.keys() - {field.encode_name for field in msgspec.structs.fields(wanted)})
