"""jiant reads a batch's fields from annotations, which are no longer inherited."""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

from gradts_plugin.hosts.jiant.lookup import module_named
from gradts_plugin.hosts.jiant.mends.mend import Mend


def _annotations_are_not_inherited() -> bool:
    return sys.version_info >= (3, 10)


def _collate_inherited_fields() -> None:
    structures = module_named("jiant.utils.python.datastructures")

    def get_annotations(cls: Any) -> dict[str, Any]:
        return {field.name: field.type for field in dataclasses.fields(cls)}

    structures.ExtendedDataClassMixin.get_annotations = classmethod(get_annotations)


MEND = Mend(
    name="batch_fields",
    mends="most batch classes silently collate to nothing: annotations are no longer inherited",
    versions="Python >= 3.10",
    needed=_annotations_are_not_inherited,
    apply=_collate_inherited_fields,
)
