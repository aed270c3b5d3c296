"""Finding a data set's files: local ones, and downloads from a server on this machine."""

from __future__ import annotations

import subprocess
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from scvi_cae.datasets._fetch import Registry, git_blob_id, locate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HELLO = "ce013625030ba8dba906f756967f9e9ca394464a"  # git's id of "hello\n"


class _Handler(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("SCVI_CAE_DATA", raising=False)
    monkeypatch.setenv("SCVI_CAE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "cache"


@pytest.fixture
def published(tmp_path: Path, cache: Path) -> Iterator[Registry]:
    """A data set of one file, published on a server on this machine."""
    folder = tmp_path / "published"
    folder.mkdir()
    (folder / "a.csv").write_bytes(b"hello\n")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield Registry("toy", f"http://127.0.0.1:{server.server_port}/", {"a.csv": HELLO})
        server.shutdown()
        thread.join()


@pytest.fixture
def offline(cache: Path) -> Registry:
    return Registry("toy", "http://127.0.0.1:9/", {"a.csv": HELLO, "b.csv": HELLO})  # nothing listens there


def test_blob_id_is_that_of_git(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"hello\n")
    assert git_blob_id(tmp_path / "a") == HELLO
    (tmp_path / "b").write_bytes(bytes(range(256)) * 8192)  # more than one block
    try:
        git = subprocess.run(
            ["git", "hash-object", tmp_path / "b"], capture_output=True, text=True, check=True
        )
    except FileNotFoundError:
        pytest.skip("needs git, to compare with")
    assert git_blob_id(tmp_path / "b") == git.stdout.strip()


def test_download_is_kept(published: Registry, tmp_path: Path, cache: Path) -> None:
    paths = locate(published)
    assert paths == {"a.csv": cache / "toy" / "a.csv"}
    assert paths["a.csv"].read_bytes() == b"hello\n"
    (tmp_path / "published" / "a.csv").unlink()
    assert locate(published) == paths


def test_a_file_of_another_address_is_stored_under_its_own_name(published: Registry, cache: Path) -> None:
    url = published.base_url + "a.csv"
    registry = Registry("toy", "http://127.0.0.1:9/", {"b.csv": HELLO}, {"b.csv": url})
    assert locate(registry) == {"b.csv": cache / "toy" / "b.csv"}
    assert (cache / "toy" / "b.csv").read_bytes() == b"hello\n"
    with pytest.raises(FileNotFoundError, match=rf"Save b\.csv from {url} there"):
        locate(registry, cache)


def test_wrong_download_is_deleted(published: Registry, tmp_path: Path, cache: Path) -> None:
    (tmp_path / "published" / "a.csv").write_bytes(b"hullo\n")
    with pytest.raises(ValueError, match=rf"a\.csv .*not\s+{HELLO}.*deleted"):
        locate(published)
    assert not (cache / "toy" / "a.csv").exists()
    (tmp_path / "published" / "a.csv").write_bytes(b"hello\n")
    assert locate(published)["a.csv"].read_bytes() == b"hello\n"


def test_damaged_cache_is_found_out(published: Registry) -> None:
    path = locate(published)["a.csv"]
    path.write_bytes(b"hel")
    with pytest.raises(ValueError, match="git blob id"):
        locate(published)
    assert locate(published)["a.csv"].read_bytes() == b"hello\n"


def test_file_gone_from_server(published: Registry, tmp_path: Path) -> None:
    (tmp_path / "published" / "a.csv").unlink()
    with pytest.raises(ConnectionError, match="404"):
        locate(published)


def test_offline_says_what_to_do(offline: Registry) -> None:
    with pytest.raises(ConnectionError, match=r"a\.csv, b\.csv .*directory= .*SCVI_CAE_DATA") as caught:
        locate(offline)
    assert isinstance(caught.value.__cause__, OSError)


def test_local_files_need_no_network_and_no_checksum(
    offline: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "data" / "toy"
    folder.mkdir(parents=True)
    for name in offline.blobs:
        (folder / name).write_text("a subset")
    expected = {name: folder / name for name in offline.blobs}
    assert locate(offline, str(folder)) == expected

    monkeypatch.setenv("SCVI_CAE_DATA", str(tmp_path / "data"))
    assert locate(offline) == expected
    with pytest.raises(FileNotFoundError, match="elsewhere"):  # the argument goes before the variable
        locate(offline, tmp_path / "elsewhere")


def test_missing_local_file_is_named(offline: Registry, tmp_path: Path) -> None:
    (tmp_path / "a.csv").touch()
    with pytest.raises(
        FileNotFoundError, match=rf"no b\.csv in .*from {offline.base_url}b\.csv .*directory="
    ):
        locate(offline, tmp_path)
