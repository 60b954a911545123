"""Shows the host one class of a bundle that holds many; plain bundles and other platforms than Linux pass untouched.

The host instantiates every class of a bundle to list them. For a bundle of 184 plugins that costs
ten seconds, and any class that crashes takes the wanted one down with it. So the table of
functions of the bundle's factory is replaced, in this process only, by one that lists just the
wanted class. Must run before the host opens the bundle, and only in a worker process.
"""

from __future__ import annotations

import ctypes
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: Bundles with fewer audio classes than this are quick to list.
_MANY = 4
_AUDIO_CATEGORY = b"Audio Module Class"

# Positions in the factory's table of functions, as the VST3 interface defines them.
_QUERY_INTERFACE, _COUNT, _INFO, _INFO_2, _INFO_UNICODE, _FUNCTIONS = 0, 4, 5, 7, 8, 10
_FACTORY_2 = bytes.fromhex("0007B650F24B4C0BA464EDB9F00B2ABB")
_FACTORY_3 = bytes.fromhex("4555A2ABC1234E579B12291036878931")
_NO_SUCH_CLASS = -1

_Query = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_char_p, ctypes.POINTER(ctypes.c_void_p))
_Count = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p)
_Info = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_int32, ctypes.c_void_p)


class _ClassInfo(ctypes.Structure):
    _fields_ = (
        ("class_id", ctypes.c_ubyte * 16),
        ("cardinality", ctypes.c_int32),
        ("category", ctypes.c_char * 32),
        ("name", ctypes.c_char * 64),
    )


class NarrowedFactory:
    """The factory of a bundle with many classes, showing the host one of them at a time."""

    def __init__(self, binary: Path) -> None:
        library = ctypes.CDLL(str(binary))
        library.ModuleEntry.restype = ctypes.c_bool
        library.ModuleEntry.argtypes = [ctypes.c_void_p]
        library.GetPluginFactory.restype = ctypes.c_void_p
        if not library.ModuleEntry(library._handle):
            raise OSError("the module does not start")
        #: Held for good: the module must stay loaded as long as its table is replaced.
        self._library = library
        self._factory = int(library.GetPluginFactory() or 0)
        if not self._factory:
            raise OSError("the module has no factory")
        self._shown: int | None = None
        slot = ctypes.cast(self._factory, ctypes.POINTER(ctypes.c_void_p))
        original = ctypes.cast(ctypes.c_void_p(slot[0]), ctypes.POINTER(ctypes.c_void_p))
        self._check_single_table(original)
        self.classes = _audio_classes(self._factory, original)
        self._table, self._kept = self._narrowing_table(original)
        slot[0] = ctypes.addressof(self._table)

    def show(self, *, name: str, class_id: str) -> bool:
        """Show only the class with this id (or, without one, this name); False if there is none."""
        wanted = [i for i, (n, c) in self.classes.items() if (c == class_id if class_id else n == name)]
        self._shown = wanted[0] if wanted else None
        return bool(wanted)

    def _check_single_table(self, original: Any) -> None:
        """Newer interfaces of the factory must be the same object, else they would list everything."""
        query = _Query(original[_QUERY_INTERFACE])
        for interface in (_FACTORY_2, _FACTORY_3):
            found = ctypes.c_void_p()
            if query(self._factory, interface, ctypes.byref(found)) != 0 or found.value != self._factory:
                raise OSError("the factory is in several parts")

    def _narrowing_table(self, original: Any) -> tuple[Any, list[Any]]:
        table = (ctypes.c_void_p * _FUNCTIONS)(*(original[i] for i in range(_FUNCTIONS)))
        everything = _Count(original[_COUNT])(self._factory)
        count = _Count(lambda _: everything if self._shown is None else 1)
        kept: list[Any] = [count]
        table[_COUNT] = ctypes.cast(count, ctypes.c_void_p).value
        for place in (_INFO, _INFO_2, _INFO_UNICODE):
            wrapped = _Info(self._shown_info(_Info(original[place])))
            kept.append(wrapped)
            table[place] = ctypes.cast(wrapped, ctypes.c_void_p).value
        return table, kept

    def _shown_info(self, original: Callable[[Any, int, Any], int]) -> Callable[[Any, int, Any], int]:
        def info(factory: Any, index: int, target: Any) -> int:
            if self._shown is None:
                return original(factory, index, target)
            return original(factory, self._shown, target) if index == 0 else _NO_SUCH_CLASS

        return info


def _audio_classes(factory: int, table: Any) -> dict[int, tuple[str, str]]:
    """Index to name and class id of every audio processor; nothing is instantiated."""
    info = _ClassInfo()
    read = _Info(table[_INFO])
    classes = {}
    for index in range(_Count(table[_COUNT])(factory)):
        if read(factory, index, ctypes.byref(info)) == 0 and info.category == _AUDIO_CATEGORY:
            name = info.name.decode("utf-8", errors="replace")
            classes[index] = (name, bytes(info.class_id).hex().upper())
    return classes


_narrowed: dict[Path, NarrowedFactory | None] = {}


def narrow(bundle: Path, *, name: str, class_id: str) -> bool:
    """Let the host see only one class of `bundle`.

    Parameters
    ----------
    bundle : Path
        VST3 bundle.
    name, class_id : str
        The wanted class; `class_id` (32 hexadecimal digits, upper case) decides where it is given.

    Returns
    -------
    bool
        False if the bundle is known to lack the class. True otherwise, also where nothing was done
        (few classes, another platform, unusual factory).
    """
    factory = _factory(bundle)
    return factory is None or factory.show(name=name, class_id=class_id)


def class_names(bundle: Path) -> list[str]:
    """Names of all plugins of a bundle that can be narrowed; empty for other bundles."""
    factory = _factory(bundle)
    return [] if factory is None else [name for name, _ in factory.classes.values()]


def _factory(bundle: Path) -> NarrowedFactory | None:
    if bundle not in _narrowed:
        _narrowed[bundle] = _open(bundle)
    return _narrowed[bundle]


def _open(bundle: Path) -> NarrowedFactory | None:
    if sys.platform != "linux" or _listed_classes(bundle) < _MANY:
        return None
    binary = bundle / "Contents" / f"{platform.machine()}-linux" / f"{bundle.stem}.so"
    try:
        return NarrowedFactory(binary)
    except (OSError, AttributeError):
        # The host says better what is wrong with the bundle.
        return None


def _listed_classes(bundle: Path) -> int:
    """Count the audio classes that the bundle's own list names (0 where it has none)."""
    for place in ("Resources/moduleinfo.json", "moduleinfo.json"):
        try:
            # Counted, not parsed: the format allows what Python's JSON reader does not.
            return (bundle / "Contents" / place).read_bytes().count(b'"Audio Module Class"')
        except OSError:
            continue
    return 0
