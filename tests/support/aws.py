"""What the models of Amazon's services, which botocore holds, have against a call."""

from collections.abc import Iterator
from functools import cache
from typing import Any

from botocore.model import ListShape, MapShape, Shape, StructureShape
from botocore.session import get_session
from botocore.validate import ParamValidator


def misfits(service: str, operation: str, parameters: dict[str, Any]) -> list[str]:
    """List what does not fit: names, types, lengths, and values outside of closed lists."""
    shape = _input(service, operation)
    report = ParamValidator().validate(parameters, shape)
    return [*([report.generate_report()] if report.has_errors() else []), *_outside(shape, parameters, "")]


@cache
def _input(service: str, operation: str) -> Shape:
    """What a call takes; a model is large, and read once."""
    return get_session().get_service_model(service).operation_model(operation).input_shape


def _outside(shape: Shape, value: Any, place: str) -> Iterator[str]:
    if isinstance(shape, StructureShape):
        for name, each in value.items():
            if name in shape.members:
                yield from _outside(shape.members[name], each, f"{place}.{name}")
    elif isinstance(shape, ListShape):
        for each in value:
            yield from _outside(shape.member, each, place)
    elif isinstance(shape, MapShape):
        for each in value.values():
            yield from _outside(shape.value, each, place)
    elif getattr(shape, "enum", None) and value not in shape.enum:
        yield f"{place}: {value} is none of {shape.enum}"
