"""The policy folder: its files and their texts."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from inbox.base.files import read_regular
from inbox.base.limits import POLICY_FILE_OCTETS
from inbox.policy.mistakes import Mistake, Mistakes, Place, PolicyMistakes

DEFAULT_FILE: Final = "default.yaml"
TENANT_FOLDER: Final = "tenants"


@dataclass(frozen=True, slots=True)
class Files:
    """The texts of a policy folder by relative name (``tenants/acme.yaml``), and the files that cannot be read."""

    texts: dict[str, bytes] = field(default_factory=dict)
    wrong: dict[str, PolicyMistakes] = field(default_factory=dict)

    @property
    def tenants(self) -> list[str]:
        """The relative names of the tenants' files, in order."""
        return sorted({*self.texts, *self.wrong} - {DEFAULT_FILE})


def read_folder(folder: Path) -> Files:
    """Read ``default.yaml`` and every tenant's file.

    Raises:
        PolicyMistakes: the tenants' folder exists and cannot be listed, so it is not known which tenants have a policy.
    """
    files = Files()
    for name in [DEFAULT_FILE, *(f"{TENANT_FOLDER}/{name}" for name in tenant_files(folder))]:
        try:
            files.texts[name] = read_policy(folder, name)
        except PolicyMistakes as error:
            files.wrong[name] = error
    return files


def tenant_files(folder: Path) -> list[str]:
    """The names of the tenants' files, in order, including those with the wrong ending ``.yml``.

    Raises:
        PolicyMistakes: the folder exists and cannot be listed.
    """
    place = folder / TENANT_FOLDER
    try:
        names = os.listdir(place)  # noqa: PTH208  glob() does not report an unreadable folder.
    except FileNotFoundError:
        return []
    except OSError as error:
        mistake = Mistake(Place(str(place)), f"cannot be listed: {(error.strerror or str(error)).lower()}")
        raise PolicyMistakes([mistake]) from error
    return sorted(name for name in names if name.endswith((".yaml", ".yml")) and not name.startswith("."))


def read_policy(folder: Path, name: str) -> bytes:
    """The text of one file. Raises PolicyMistakes if it cannot be read."""
    path = folder / name
    if name.endswith(".yml"):
        raise PolicyMistakes([Mistake(Place(str(path)), "policy files end in .yaml; rename this file")])
    try:
        # Reads one octet more than allowed, so that decode() reports the size.
        return read_regular(path, POLICY_FILE_OCTETS + 1)
    except OSError as error:
        mistake = Mistake(Place(str(path)), f"cannot be read: {(error.strerror or str(error)).lower()}")
        raise PolicyMistakes([mistake]) from error


def read_policies(folder: Path, names: Iterable[str], mistakes: Mistakes) -> dict[str, bytes]:
    """The texts of these files; those that cannot be read are in ``mistakes``."""
    texts: dict[str, bytes] = {}
    for name in names:
        try:
            texts[name] = read_policy(folder, name)
        except PolicyMistakes as error:
            mistakes.take(error)
    return texts
