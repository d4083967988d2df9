"""Tables of a catalog in the SQL of a client's session.

A table's name says where it is: `t` in the default schema `public` of the default catalog `datafusion`, `s.t` in schema `s`, `c.s.t` in
schema `s` of catalog `c`. Tables are looked up when a statement is planned, so those created later are found. Names that the session
itself registers are kept beside them, in the client alone.
"""

from __future__ import annotations

from typing import Any

from datafusion.catalog import (
    CatalogProvider,
    CatalogProviderList,
    SchemaProvider,
    Table,
)

from rushes import _core

from ._ids import EntryKind
from ._table import lazy_table

_CATALOG, _SCHEMA = "datafusion", "public"


def place(name: str) -> tuple[str, str, str]:
    """Catalog, schema and table name that the name of an entry means."""
    parts = name.split(".")
    if len(parts) == 2:
        return _CATALOG, parts[0], parts[1]
    if len(parts) == 3:
        return parts[0], parts[1], parts[2]
    return _CATALOG, _SCHEMA, name


class _Tables:
    """The tables of a connection, looked up anew each time."""

    def __init__(self, connection: _core.Connection) -> None:
        self.connection = connection

    def places(self) -> list[tuple[str, str, str]]:
        found = self.connection.find_entries(kind=int(EntryKind.TABLE))
        return [place(entry.name) for entry in found]

    def find(self, catalog: str, schema: str, name: str) -> _core.EntryDetails | None:
        full = [name]
        if (catalog, schema) != (_CATALOG, _SCHEMA):
            full = [f"{catalog}.{schema}.{name}"]
            if catalog == _CATALOG:
                full.append(f"{schema}.{name}")
        for candidate in full:
            try:
                found = self.connection.find_entries(name=candidate, kind=int(EntryKind.TABLE))
            except ValueError:  # no name that an entry can have
                continue
            if found and place(found[0].name) == (catalog, schema, name):
                return found[0]
        return None


class Schema(SchemaProvider):
    """One schema: tables of the catalog, and what the session registered."""

    def __init__(self, tables: _Tables, catalog: str, name: str) -> None:
        self._tables, self._catalog, self._name = tables, catalog, name
        self._own: dict[str, Table] = {}

    def table_names(self) -> set[str]:
        """Return the names of the tables in this schema."""
        there = {
            table
            for catalog, schema, table in self._tables.places()
            if (catalog, schema) == (self._catalog, self._name)
        }
        return there | set(self._own)

    def table(self, name: str) -> Table | None:
        """Return a table, None if there is none of that name."""
        if name in self._own:
            return self._own[name]
        entry = self._tables.find(self._catalog, self._name, name)
        if entry is None:
            return None
        return Table(lazy_table(self._tables.connection, entry.id, entry.name))

    def table_exist(self, name: str) -> bool:
        """Return whether there is a table of that name."""
        return name in self._own or self._tables.find(self._catalog, self._name, name) is not None

    def register_table(self, name: str, table: Any) -> None:
        """Keep a table of the session."""
        self._own[name] = table

    def deregister_table(self, name: str, cascade: bool = True) -> None:
        """Forget a table of the session. Tables of the catalog are deleted by `TableEntry.delete()`."""
        self._own.pop(name, None)


class Catalog(CatalogProvider):
    """One catalog of SQL: schemas that names of tables mention, and what the session registered."""

    def __init__(self, tables: _Tables, name: str) -> None:
        self._tables, self._name = tables, name
        self._schemas: dict[str, Any] = {}

    def schema_names(self) -> set[str]:
        """Return the names of the schemas."""
        there = {schema for catalog, schema, _ in self._tables.places() if catalog == self._name}
        own = set(self._schemas) if self._name == _CATALOG else set()
        return there | own | ({_SCHEMA} if self._name == _CATALOG else set())

    def schema(self, name: str) -> Any:
        """Return a schema. There is one for every name, maybe an empty one."""
        if name not in self._schemas:
            self._schemas[name] = Schema(self._tables, self._name, name)
        return self._schemas[name]

    def register_schema(self, name: str, schema: Any) -> None:
        """Keep a schema of the session."""
        self._schemas[name] = schema

    def deregister_schema(self, name: str, cascade: bool) -> None:
        """Forget a schema of the session."""
        self._schemas.pop(name, None)


class Catalogs(CatalogProviderList):
    """All catalogs of a client's session."""

    def __init__(self, connection: _core.Connection) -> None:
        self._tables = _Tables(connection)
        self._catalogs: dict[str, Any] = {}

    def catalog_names(self) -> set[str]:
        """Return the names of the catalogs."""
        return {_CATALOG} | {catalog for catalog, _, _ in self._tables.places()}

    def catalog(self, name: str) -> Any:
        """Return a catalog. There is one for every name, maybe an empty one."""
        if name not in self._catalogs:
            self._catalogs[name] = Catalog(self._tables, name)
        return self._catalogs[name]

    def register_catalog(self, name: str, catalog: Any) -> None:
        """Keep a catalog of the session."""
        self._catalogs[name] = catalog
