"""Named models: fetched once from a server on this machine, resumed, checked, refused."""

import hashlib
import http.server
import json
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from cagc_lib.checkpoints import (
    artefacts,
    downloads,
    generator_names,
    load_checkpoint,
    load_generator,
    model_path,
    named_models,
    write_manifest_entry,
)
from cagc_lib.checkpoints.downloads import cache_dir
from cagc_lib.cli import main

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
GOLDEN = (Path(__file__).parents[1] / "golden" / "rosinality_pruned70.pt").read_bytes()
SHA256 = hashlib.sha256(GOLDEN).hexdigest()
URL = "https://models.test/files/model.pt"
FACTS = {"file": "model.pt", "licence": "MIT", "source": "the tests", "url": URL}


class Server(http.server.ThreadingHTTPServer):
    """Serves GOLDEN; `cut` ends an answer early, `tag` is the content's mark."""

    daemon_threads = True
    content, tag, cut, ranges = GOLDEN, '"one"', None, True
    status = 200

    def __init__(self) -> None:
        self.asked: list[tuple[str | None, str | None]] = []
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args: Any) -> None: ...

    def do_GET(self) -> None:
        server, asked, mark = self.server, self.headers["Range"], self.headers["If-Range"]
        server.asked.append((asked, mark))
        first = 0
        if asked and server.ranges and mark == server.tag:
            first = int(asked.removeprefix("bytes=").removesuffix("-"))
        body, size = server.content[first:], len(server.content)
        if server.status != 200:
            return self.send_error(server.status)
        if first >= size:
            return self.send_error(416)
        self.send_response(206 if first else 200)
        if first:
            self.send_header("Content-Range", f"bytes {first}-{size - 1}/{size}")
        self.send_header("Content-Length", str(len(body)))
        if server.tag:
            self.send_header("ETag", server.tag)
        self.end_headers()
        self.wfile.write(body[: server.cut])


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

        def open_here(request: urllib.request.Request) -> Any:
            assert request.full_url.startswith("https://models.test/")
            local = request.full_url.replace(
                "https://models.test", f"http://127.0.0.1:{server.server_port}"
            )
            return opener.open(urllib.request.Request(local, headers=dict(request.headers)))

        monkeypatch.setattr(downloads, "_open", open_here)
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand a manifest and a cache of its own in; return the cache."""
    (tmp_path / "data").mkdir()
    monkeypatch.setattr(artefacts, "data_dir", lambda: tmp_path / "data")
    monkeypatch.setattr("cagc_lib.checkpoints.data_dir", lambda: tmp_path / "data")
    monkeypatch.setenv("CAGC_LIB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def name_models(**models: dict) -> None:
    listing = {"artefacts": [], "models": [{"name": n, **FACTS, **m} for n, m in models.items()]}
    (artefacts.data_dir() / "manifest.json").write_text(json.dumps(listing))


def files(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir())


def test_a_name_loads_through_the_same_door_fetched_once(place: Path, server, capsys) -> None:
    name_models(known={"sha256": SHA256, "bytes": len(GOLDEN)})
    assert load_generator("known").config.channels == (8, 8, 8, 6, 6, 5, 5, 4)
    assert load_checkpoint("known").sha256 == SHA256
    assert len(server.asked) == 1
    assert files(place) == ["model.pt"]
    progress = capsys.readouterr()
    assert "known: 100%" in progress.err
    assert progress.out == ""


def test_a_shipped_network_that_is_not_here_is_fetched_once(
    place: Path, server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artefacts, "REPOSITORY", "https://models.test/data")
    shipped = artefacts.data_dir() / "thing.pt"
    shipped.write_bytes(GOLDEN)
    write_manifest_entry(shipped, how="compress")
    shipped.unlink()
    assert "thing" in generator_names()
    for _ in range(2):
        assert load_checkpoint("thing").sha256 == SHA256
    assert len(server.asked) == 1 and files(place) == ["thing.pt"]


@pytest.mark.parametrize("cut", [0, 1, 1000, len(GOLDEN) - 1])
def test_a_cut_download_goes_on_where_it_stopped(place: Path, server, cut: int) -> None:
    name_models(known={"sha256": SHA256})
    server.cut = cut
    with pytest.raises(OSError, match=rf"known: cannot download .* ended after {cut} of"):
        model_path("known")
    assert "model.pt" not in files(place)
    server.cut = None
    assert model_path("known").read_bytes() == GOLDEN
    assert server.asked[1] == ((f"bytes={cut}-", '"one"') if cut else (None, None))
    assert files(place) == ["model.pt"]


@pytest.mark.parametrize("change", [{"tag": '"two"'}, {"ranges": False}])
def test_another_file_or_a_simple_server_starts_again(place: Path, server, change: dict) -> None:
    name_models(unknown={})
    server.cut, server.content = 1000, b"x" * 5000
    with pytest.raises(OSError, match="ended after 1000 of 5000"):
        model_path("unknown")
    server.cut, server.content = None, GOLDEN
    for key, value in change.items():
        setattr(server, key, value)
    assert model_path("unknown", trust=True).read_bytes() == GOLDEN


def test_without_a_strong_mark_nothing_is_glued_together(place: Path, server) -> None:
    name_models(unknown={})
    server.cut, server.tag = 1000, 'W/"weak"'
    with pytest.raises(OSError, match="ended after 1000"):
        model_path("unknown")
    server.cut = None
    assert model_path("unknown", trust=True).read_bytes() == GOLDEN
    assert server.asked[1] == (None, None)


def test_a_whole_part_without_its_last_step(place: Path, server) -> None:
    """The process died between the last byte and the final name."""
    place.mkdir()
    (place / "model.pt.part").write_bytes(GOLDEN)
    name_models(known={"sha256": SHA256, "bytes": len(GOLDEN)})
    model_path("known")
    assert server.asked == []
    (place / "model.pt").unlink()
    (place / "model.pt.part").write_bytes(GOLDEN)
    (place / "model.pt.part.etag").write_text('"one"')
    name_models(known={"sha256": SHA256})
    model_path("known")
    assert [asked for asked, _ in server.asked] == [f"bytes={len(GOLDEN)}-", None]
    assert files(place) == ["model.pt"]


@pytest.mark.parametrize("trust", [False, True])
def test_another_hash_is_never_loaded(place: Path, server, trust: bool) -> None:
    name_models(known={"sha256": "0" * 64})
    with pytest.raises(ValueError, match=f"known: .* has SHA-256 {SHA256}, expected 0000"):
        load_generator("known", trust=trust)
    assert files(place) == []
    # nor one that changed in the cache
    (place / "model.pt").write_bytes(GOLDEN)
    with pytest.raises(ValueError, match=f"has SHA-256 {SHA256}, expected 0000"):
        load_generator("known", trust=trust)
    assert files(place) == ["model.pt"]


def test_an_unknown_hash_needs_trust_and_is_told(place: Path, server, capsys) -> None:
    name_models(unknown={})
    with pytest.raises(ValueError, match=rf"SHA-256 is not known, .* has {SHA256}; expected"):
        load_generator("unknown")
    assert main(["inspect", "unknown"]) == 2
    assert f"has {SHA256}; expected trust=True (--trust)" in capsys.readouterr().err
    assert main(["inspect", "unknown", "--trust"]) == 0
    assert SHA256 in capsys.readouterr().out
    assert load_generator("unknown", trust=True).config.resolution == 32
    assert len(server.asked) == 1


def test_another_size_is_refused_before_it_is_fetched(place: Path, server) -> None:
    name_models(known={"sha256": SHA256, "bytes": 7})
    with pytest.raises(OSError, match=f"the server has {len(GOLDEN)} bytes, expected 7"):
        model_path("known")
    assert files(place) == []


@pytest.mark.parametrize("status", [403, 404, 416, 500])
def test_a_server_that_refuses(place: Path, server, status: int) -> None:
    name_models(known={"sha256": SHA256})
    server.status = status
    with pytest.raises(OSError, match=f"cannot download {URL} .the server answers {status}"):
        model_path("known")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (urllib.error.URLError(OSError(-2, "Name or service not known")), "Name or service not k"),
        (ConnectionResetError(104, "Connection reset by peer"), "Connection reset by peer"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (TimeoutError("timed out"), "timed out"), (TimeoutError(), "TimeoutError"),
    ],
)
def test_no_network_is_one_line(
    place: Path, capsys, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    def fail(request: urllib.request.Request) -> None:
        raise error

    monkeypatch.setattr(downloads, "_open", fail)
    name_models(known={"sha256": SHA256})
    assert main(["inspect", "known"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"cagc_lib: known: cannot download {URL} ({reason}")
    assert files(place) == []


def test_addresses_that_are_not_fetched(place: Path) -> None:
    name_models(plain={"url": "http://models.test/x"}, none={"url": URL})
    with pytest.raises(ValueError, match=r"got address http://models.test/x, expected .* https"):
        model_path("plain")
    entries = json.loads((artefacts.data_dir() / "manifest.json").read_text())
    del entries["models"][1]["url"]
    (artefacts.data_dir() / "manifest.json").write_text(json.dumps(entries))
    with pytest.raises(ValueError, match="its address is not known; get it from the tests"):
        model_path("none")
    with pytest.raises(ValueError, match="got 'other', expected one of: none, plain"):
        model_path("other")


def test_a_redirection_to_plain_http_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Response:
        url = "http://models.test/x"
        closed = False

        def close(self) -> None:
            Response.closed = True

    monkeypatch.setattr(urllib.request, "urlopen", lambda request, timeout: Response())
    with pytest.raises(OSError, match=r"leads to http://models.test/x"):
        downloads._open(urllib.request.Request(URL))
    assert Response.closed


def drive(monkeypatch: pytest.MonkeyPatch, download: Any) -> None:
    gdown = ModuleType("gdown")
    gdown.download = download
    monkeypatch.setitem(sys.modules, "gdown", gdown)
    name_models(drive={"url": "https://drive.google.com/uc?id=abc-_1", "sha256": SHA256})


def test_google_drive_goes_through_its_client(place: Path, monkeypatch) -> None:
    asked = []

    def download(id: str, output: str, resume: bool) -> str:
        asked.append((id, resume))
        Path(output).write_bytes(GOLDEN)
        return output

    drive(monkeypatch, download)
    for _ in range(2):
        assert load_generator("drive").config.resolution == 32
    assert asked == [("abc-_1", True)]
    assert files(place) == ["model.pt"]


def test_google_drive_fails_in_one_line(place: Path, monkeypatch) -> None:
    def refuse(**options: Any) -> None:
        raise RuntimeError("Cannot retrieve\n\tthe public link\n")

    drive(monkeypatch, refuse)
    with pytest.raises(OSError, match="Cannot retrieve the public link"):
        model_path("drive")
    drive(monkeypatch, lambda **options: None)
    with pytest.raises(OSError, match="gdown fetched nothing"):
        model_path("drive")
    # None in its place makes the import fail as if it were not installed
    monkeypatch.setitem(sys.modules, "gdown", None)
    with pytest.raises(ValueError, match=r"drive: Google Drive needs gdown .*pip install gdown"):
        model_path("drive")


def test_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in ("CAGC_LIB_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    for platform, folder in (
        ("linux", ".cache/cagc-lib"), ("darwin", "Library/Caches/cagc-lib"),
        ("win32", "AppData/Local/cagc-lib"),
    ):  # fmt: skip
        monkeypatch.setattr(sys, "platform", platform)
        assert cache_dir() == tmp_path / folder
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert cache_dir() == Path("/elsewhere/cagc-lib")
    monkeypatch.setenv("CAGC_LIB_CACHE", "/chosen")
    assert cache_dir() == Path("/chosen")


def test_models_of_the_manifest_are_offered_and_described() -> None:
    models = named_models()
    assert {"ffhq-256", "ffhq-1024", "cagc-256", "cagc-256-11x"} <= set(models)
    generators = {name for name, entry in models.items() if "kind" not in entry}
    assert generators <= set(generator_names())
    assert "bisenet-celebamask" not in generator_names()
    assert len({entry["file"] for entry in models.values()}) == len(models)
    for entry in models.values():
        assert entry["licence"] and entry["source"]
        assert len(entry.get("sha256", "0" * 64)) == 64
    with pytest.raises(FileNotFoundError, match=r"ffhq-255: .*\(known: .*portraits.*ffhq-256"):
        load_generator("ffhq-255")


def test_recording_an_artefact_keeps_the_models(place: Path) -> None:
    name_models(one={}, two={"bytes": 3})
    before = named_models()
    (artefacts.data_dir() / "x.json").write_bytes(b"{}")
    write_manifest_entry(artefacts.data_dir() / "x.json", how="x")
    assert named_models() == before


@pytest.mark.parametrize("wrong", [{"sha256": None}, {"bytes": "3"}, {"url": 1}, {"source": 2}])
def test_a_malformed_model_is_refused(place: Path, wrong: dict) -> None:
    name_models(one=wrong)
    with pytest.raises(ValueError, match=f"lacks a proper {next(iter(wrong))}"):
        named_models()
