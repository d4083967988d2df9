"""The columns of a dataset."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from rushes._errors import nearest

_PROPERTIES = "/__properties"
_METADATA = {b"sorbet:version": b"0.1.4"}


class IndexColumnDescriptor:
    """An index column: a timeline."""

    __slots__ = ("_name",)
    _name: str

    def __new__(cls, *args: object) -> IndexColumnDescriptor:
        raise TypeError("No constructor defined for IndexColumnDescriptor")

    @classmethod
    def _make(cls, name: str) -> IndexColumnDescriptor:
        made = object.__new__(cls)
        made._name = name
        return made

    @property
    def name(self) -> str:
        """The timeline's name."""
        return self._name

    @property
    def is_static(self) -> bool:
        """False; an index is never static."""
        return False

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, IndexColumnDescriptor):
            return NotImplemented
        return self._name == other._name

    def __hash__(self) -> int:
        return hash(self._name)

    def __repr__(self) -> str:
        return f"Index(timeline:{self._name})"


class IndexColumnSelector:
    """Names an index column."""

    __slots__ = ("_name",)

    def __init__(self, index: str) -> None:
        if not isinstance(index, str):
            raise TypeError(f"index must be a str, not {type(index).__name__}")
        if not index:
            raise ValueError("Invalid `TimelineName`: must not be empty")
        self._name = index

    @property
    def name(self) -> str:
        """The timeline's name."""
        return self._name

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, IndexColumnSelector):
            return NotImplemented
        return self._name == other._name

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Index(timeline:{self._name})"


class ComponentColumnDescriptor:
    """A component column: what it holds and where it was logged."""

    __slots__ = (
        "_archetype",
        "_component",
        "_component_type",
        "_entity_path",
        "_is_static",
        "_name",
    )
    _name: str
    _entity_path: str
    _component: str
    _archetype: str | None
    _component_type: str | None
    _is_static: bool

    def __new__(cls, *args: object) -> ComponentColumnDescriptor:
        raise TypeError("No constructor defined for ComponentColumnDescriptor")

    @classmethod
    def _make(cls, field: pa.Field) -> ComponentColumnDescriptor:
        metadata = {k.decode(): v.decode() for k, v in (field.metadata or {}).items()}
        made = object.__new__(cls)
        made._name = field.name
        made._entity_path = metadata.get("rerun:entity_path", "/")
        made._component = metadata.get("rerun:component", field.name)
        made._archetype = metadata.get("rerun:archetype")
        made._component_type = metadata.get("rerun:component_type")
        made._is_static = metadata.get("rerun:is_static") == "true"
        return made

    @property
    def name(self) -> str:
        """The column's name in dataframes."""
        return self._name

    @property
    def entity_path(self) -> str:
        """The entity."""
        return self._entity_path

    @property
    def component(self) -> str:
        """The component's identifier, such as `Points3D:positions`."""
        return self._component

    @property
    def component_type(self) -> str | None:
        """The component's type, if known."""
        return self._component_type

    @property
    def archetype(self) -> str | None:
        """The archetype, if known."""
        return self._archetype

    @property
    def is_static(self) -> bool:
        """True if it was logged without time in some segment."""
        return self._is_static

    @property
    def is_property(self) -> bool:
        """True for properties of recordings."""
        return self._entity_path == _PROPERTIES or self._entity_path.startswith(_PROPERTIES + "/")

    def _key(self) -> tuple[object, ...]:
        return (
            self._name,
            self._entity_path,
            self._component,
            self._archetype,
            self._component_type,
            self._is_static,
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ComponentColumnDescriptor):
            return NotImplemented
        return self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        lines = [
            f"Column name: {self._name}",
            f"Entity path: {self._entity_path}",
            f"Archetype: {self._archetype}",
            f"Component type: {self._component_type or ''}",
            f"Component: {self._component}",
        ]
        if self._is_static:
            lines.append("Static: true")
        return "\n\t".join(lines)


class ComponentColumnSelector:
    """Names a component column."""

    __slots__ = ("_component", "_entity_path")

    def __init__(self, entity_path: str, component: str) -> None:
        for what, value in (("entity_path", entity_path), ("component", component)):
            if not isinstance(value, str):
                raise TypeError(f"{what} must be a str, not {type(value).__name__}")
        self._entity_path = _with_slash(entity_path)
        self._component = component

    @property
    def entity_path(self) -> str:
        """The entity."""
        return self._entity_path

    @property
    def component(self) -> str:
        """The component's identifier."""
        return self._component

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ComponentColumnSelector):
            return NotImplemented
        return (self._entity_path, self._component) == (other._entity_path, other._component)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{self._entity_path}:{self._component}"


def _with_slash(path: str) -> str:
    return path if path.startswith("/") else "/" + path


class Schema:
    """The columns of a dataset, a selection of it, or a segment."""

    __slots__ = ("_arrow", "_components", "_indexes")

    def __init__(self, inner: pa.Schema) -> None:
        # Not every server sends it.
        self._arrow = inner.with_metadata({**_METADATA, **(inner.metadata or {})})
        indexes, components = [], []
        for field in inner:
            kind = (field.metadata or {}).get(b"rerun:kind", b"")
            if kind == b"index":
                indexes.append(IndexColumnDescriptor._make(field.name))
            elif kind == b"data":
                components.append(ComponentColumnDescriptor._make(field))
        self._indexes = sorted(indexes, key=lambda column: column.name.encode())
        # Properties last; the order of the others is the schema's, which sorts by entity and component.
        self._components = sorted(components, key=lambda column: column.is_property)

    def index_columns(self) -> list[IndexColumnDescriptor]:
        """Return the timelines, by name."""
        return list(self._indexes)

    def component_columns(self) -> list[ComponentColumnDescriptor]:
        """Return the component columns, by entity and component; properties last."""
        return list(self._components)

    def __iter__(self) -> Iterator[IndexColumnDescriptor | ComponentColumnDescriptor]:
        yield from self._indexes
        yield from self._components

    def column_names(self) -> list[str]:
        """Return the names of all columns."""
        return [column.name for column in self]

    def entity_paths(self, *, include_properties: bool = False) -> list[str]:
        """Return the entities that have columns, sorted."""
        return sorted({c.entity_path for c in self._visible(include_properties)})

    def archetypes(self, *, include_properties: bool = False) -> list[str]:
        """Return the archetypes that columns belong to, sorted."""
        return sorted(
            {c.archetype for c in self._visible(include_properties) if c.archetype is not None}
        )

    def component_types(self, *, include_properties: bool = False) -> list[str]:
        """Return the types of the components, sorted."""
        return sorted(
            {
                c.component_type
                for c in self._visible(include_properties)
                if c.component_type is not None
            }
        )

    def column_for(self, entity_path: str, component: str) -> ComponentColumnDescriptor | None:
        """Return the column of a component, or None."""
        path = _with_slash(entity_path)
        for column in self._components:
            if column.entity_path == path and column.component == component:
                return column
        return None

    def column_for_selector(
        self, selector: str | ComponentColumnSelector | ComponentColumnDescriptor
    ) -> ComponentColumnDescriptor:
        """Return the column that `selector` names; `LookupError` if there is none."""
        if isinstance(selector, ComponentColumnDescriptor):
            return selector
        if isinstance(selector, ComponentColumnSelector):
            entity_path, component = selector.entity_path, selector.component
        elif isinstance(selector, str):
            entity_path, separator, component = selector.partition(":")
            if not separator:
                raise ValueError(
                    f"Expected string in the form of `entity_path:component_type`, got: {selector}"
                )
        else:
            raise TypeError(
                f"selector must be a str, ComponentColumnSelector or ComponentColumnDescriptor, not {type(selector).__name__}"
            )
        column = self.column_for(entity_path, component)
        if column is None:
            text = f"{_with_slash(entity_path)}:{component}"
            raise LookupError(
                f"Could not find column for selector {text}.{nearest(text, (c.name for c in self._components))}"
            )
        return column

    def columns_for(
        self,
        *,
        entity_path: str | None = None,
        archetype: str | type[Any] | None = None,
        component_type: str | None = None,
        include_properties: bool = False,
    ) -> list[ComponentColumnDescriptor]:
        """Return the columns that match all that is given. Names of archetypes and types may be short."""
        wanted_archetype = None if archetype is None else _archetype_name(archetype)
        wanted_path = None if entity_path is None else _with_slash(entity_path)
        return [
            column
            for column in self._visible(include_properties)
            if (wanted_path is None or column.entity_path == wanted_path)
            and (
                wanted_archetype is None
                or column.archetype in (wanted_archetype, f"rerun.archetypes.{wanted_archetype}")
            )
            and (
                component_type is None
                or column.component_type in (component_type, f"rerun.components.{component_type}")
            )
        ]

    def column_names_for(
        self,
        *,
        entity_path: str | None = None,
        archetype: str | type[Any] | None = None,
        component_type: str | None = None,
        include_properties: bool = False,
    ) -> list[str]:
        """Return the names of :meth:`columns_for`."""
        columns = self.columns_for(
            entity_path=entity_path,
            archetype=archetype,
            component_type=component_type,
            include_properties=include_properties,
        )
        return [column.name for column in columns]

    def to_arrow(self) -> pa.Schema:
        """Return the Arrow schema: row id, timelines, components, with the metadata of their fields."""
        return self._arrow

    def _visible(self, include_properties: bool) -> list[ComponentColumnDescriptor]:
        return [c for c in self._components if include_properties or not c.is_property]

    def __arrow_c_schema__(self) -> Any:
        return self._arrow.__arrow_c_schema__()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Schema):
            return NotImplemented
        return self._indexes == other._indexes and self._components == other._components

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return "\n".join(repr(column) for column in self)


def _archetype_name(archetype: str | type[Any]) -> str:
    if isinstance(archetype, str):
        return archetype
    name = getattr(archetype, "archetype", None)
    if callable(name):
        return str(name())
    return archetype.__name__
