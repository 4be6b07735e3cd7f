"""Where the native op library is looked for."""

import pytest

from temport.custom_ops import library
from temport.custom_ops.library import library_path


def test_environment_overrides_the_package(tmp_path, monkeypatch):
    built = tmp_path / "libtemport_ops.so"
    built.touch()
    monkeypatch.setenv(library.ENVIRONMENT, str(built))
    assert library_path() == built


def test_a_library_that_is_named_but_absent_is_an_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here.so").touch()
    for name in (str(tmp_path / "none.so"), "here.so", "./here.so"):
        monkeypatch.setenv(library.ENVIRONMENT, name)
        with pytest.raises(ValueError, match=r"^TEMPORT_OPS_LIBRARY is .*; it must name the built library"):
            library_path()


def test_inside_the_package_or_none(tmp_path, monkeypatch):
    monkeypatch.delenv(library.ENVIRONMENT, raising=False)
    monkeypatch.setattr(library, "__file__", str(tmp_path / "library.py"))
    assert library_path() is None
    (tmp_path / "native").mkdir()
    built = tmp_path / "native" / "libtemport_ops.so"
    built.touch()
    assert library_path() == built
