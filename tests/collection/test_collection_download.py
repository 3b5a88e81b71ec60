"""Downloads from a server on this machine that cuts, lies and attacks."""

import base64
import gzip
import hashlib
import pickle
import tarfile
from contextlib import contextmanager

import numpy as np
import pytest
from collection_server import archive, matrix, matrix_market, serve
from scipy import sparse

from spectool import collection
from spectool.collection import download, reading
from spectool.errors import CollectionError, InputError

INDEX = """2
31-Oct-2023 18:12:37
G,first,300,300,3000,1,0,1,1,1,1,structural problem,3100
G,second,10,20,30,0,0,0,0,0.5,0.25,"kind, with comma",30
"""


@pytest.fixture(autouse=True)
def _own_places(monkeypatch, tmp_path):
    monkeypatch.setenv("SPECTOOL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SPECTOOL_DATA", raising=False)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(download, "PAUSE", 0.0)


@pytest.fixture
def server():
    with serve() as state:
        yield state


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache" / "collection"


def files_in(folder):
    """Return the files that a download left, without the lock."""
    return sorted(f.name for f in folder.rglob("*") if f.is_file() and f.suffix != ".lock")


def plain(A, **members):
    """Return the archive of one matrix, as the collection packs it."""
    return archive({"a/a.mtx": matrix_market(A, symmetry="symmetric"), **members})


def test_download_then_reload_without_server(cache):
    A = matrix()
    b = np.random.default_rng(192837465).standard_normal((300, 1))
    members = {"a/a_b.mtx": matrix_market(b), "a/readme.txt": b"no matrix"}
    with serve() as server:
        server.add("G/a", plain(A, **members))
        first = collection.load("G/a", base_url=server.url + "/")
    again, rhs = collection.load("G/a", rhs=True, base_url=server.url)

    for got in (first, again):
        np.testing.assert_array_equal(got.toarray(), A.toarray())
    np.testing.assert_array_equal(rhs, b[:, 0])
    assert files_in(cache) == ["a.tar.gz", "a.tar.gz.json"]
    assert [request.path for request in server.log] == ["/MM/G/a.tar.gz"]


def test_cached_matrix_is_found_by_search(server):
    server.add("G/a", plain(matrix()))
    A = collection.load("G/a", base_url=server.url)

    (entry,) = collection.search(group="G")

    assert (entry.where, entry.n_rows, entry.nnz) == ("cache", 300, A.nnz)
    assert entry.symmetric is True
    assert entry.spd is None


@pytest.mark.parametrize("headers", [{}, {"ETag": '"v1"'}, {"ETag": 'W/"weak"'}])
def test_cut_connection_is_resumed_and_no_byte_sent_twice(server, headers):
    data = server.add("G/a", plain(matrix()))
    server.headers = headers
    server.cuts = [5000, 7000]

    A = collection.load("G/a", base_url=server.url)

    np.testing.assert_array_equal(A.toarray(), matrix().toarray())
    assert [r.range for r in server.log] == [None, "bytes=5000-", "bytes=12000-"]
    assert [r.status for r in server.log] == [200, 206, 206]
    assert server.sent == len(data)
    strong = headers.get("ETag") == '"v1"'
    assert server.log[1].if_range == ('"v1"' if strong else None)


def test_resume_in_a_later_call(server, cache, monkeypatch):
    data = server.add("G/a", plain(matrix()))
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    server.cuts = [5000]

    with pytest.raises(CollectionError, match=r"5000 bytes are kept in .*load again"):
        collection.load("G/a", base_url=server.url)
    assert files_in(cache) == ["a.tar.gz.part", "a.tar.gz.part.json"]
    assert collection.search(group="G") == []
    collection.load("G/a", base_url=server.url)

    assert server.sent == len(data)
    assert files_in(cache) == ["a.tar.gz", "a.tar.gz.json"]


def test_interrupt_by_the_user_leaves_a_part_that_is_resumed(server, cache, monkeypatch):
    data = server.add("G/a", plain(matrix()))

    class Bar:
        def update(self, task, completed):
            if completed >= 4096:
                raise KeyboardInterrupt

    @contextmanager
    def interrupting(*args, **kwargs):
        yield Bar(), 0

    with monkeypatch.context() as patch:
        patch.setattr(download, "bytes_bar", interrupting)
        patch.setattr(download, "CHUNK", 1024)
        with pytest.raises(KeyboardInterrupt):
            collection.load("G/a", base_url=server.url)
    assert (cache / "G" / "a.tar.gz.part").stat().st_size == 4096
    A = collection.load("G/a", base_url=server.url)

    np.testing.assert_array_equal(A.toarray(), matrix().toarray())
    assert server.log[-1].range == "bytes=4096-"
    assert server.log[-1].sent == len(data) - 4096


def test_server_without_ranges_starts_again(server):
    data = server.add("G/a", plain(matrix()))
    server.ranges = False
    server.cuts = [5000]

    A = collection.load("G/a", base_url=server.url)

    np.testing.assert_array_equal(A.toarray(), matrix().toarray())
    assert [r.status for r in server.log] == [200, 200]
    assert server.sent == 5000 + len(data)


def test_file_that_changed_in_between_starts_again(server, monkeypatch):
    server.add("G/a", plain(matrix()))
    server.headers = {"ETag": '"v1"'}
    server.cuts = [5000]
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    with pytest.raises(CollectionError, match="broke off"):
        collection.load("G/a", base_url=server.url)

    server.headers = {"ETag": '"v2"'}
    server.add("G/a", plain(matrix(rng=132435465)))
    A = collection.load("G/a", base_url=server.url)

    np.testing.assert_array_equal(A.toarray(), matrix(rng=132435465).toarray())
    assert (server.log[-1].status, server.log[-1].if_range) == (200, '"v1"')


def test_file_that_shrank_below_the_part_starts_again(server, monkeypatch):
    server.add("G/a", plain(matrix()))
    server.cuts = [9000]
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    with pytest.raises(CollectionError, match="broke off"):
        collection.load("G/a", base_url=server.url)

    monkeypatch.setattr(download, "ATTEMPTS", 2)
    server.add("G/a", plain(matrix(20)))
    assert collection.load("G/a", base_url=server.url).shape == (20, 20)
    assert [r.status for r in server.log] == [200, 416, 200]


def test_wrong_part_is_not_appended(server):
    server.add("G/a", plain(matrix()))
    server.wrong_range = True
    server.cuts = [5000]

    A = collection.load("G/a", base_url=server.url)

    np.testing.assert_array_equal(A.toarray(), matrix().toarray())
    assert [r.status for r in server.log] == [200, 206, 200]


def test_complete_part_needs_no_server(server, cache, monkeypatch):
    server.add("G/a", plain(matrix()))
    with monkeypatch.context() as patch:
        patch.setattr(download, "read_archive", lambda *a, **k: (_ for _ in ()).throw(SystemExit))
        with pytest.raises(SystemExit):  # killed between the last byte and the rename
            collection.load("G/a", base_url=server.url)
    assert files_in(cache) == ["a.tar.gz.part", "a.tar.gz.part.json"]

    collection.load("G/a", base_url=server.url)
    assert len(server.log) == 1


def test_length_is_not_needed(server):
    server.add("G/a", plain(matrix()))
    server.length = False
    assert collection.load("G/a", base_url=server.url).shape == (300, 300)


def test_cut_that_no_length_betrays_is_noticed_by_gzip(server, cache):
    server.add("G/a", plain(matrix()))
    server.length = False
    server.cuts = [8000]
    with pytest.raises(CollectionError, match="not usable, and was deleted"):
        collection.load("G/a", base_url=server.url)
    assert files_in(cache) == []


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize("at", [0, 6000, -3], ids=["magic", "body", "crc"])
def test_corrupt_archive_leaves_nothing(server, cache, at):
    data = plain(matrix())
    server.add("G/a", flipped(data, at % len(data)))

    with pytest.raises(CollectionError, match="not usable, and was deleted"):
        collection.load("G/a", base_url=server.url)

    assert files_in(cache) == []
    assert collection.search(group="G") == []


def test_archive_is_read_beyond_its_last_member(server, cache, monkeypatch):
    """The CRC stands at the very end, where a reader of tar never looks."""
    monkeypatch.setattr(reading, "CHUNK", 1024)
    tail = np.random.default_rng(519283746).bytes(200_000)
    data = gzip.compress(gzip.decompress(plain(matrix(20))) + tail)
    server.add("G/a", flipped(data, len(data) - 6))
    with pytest.raises(CollectionError, match="CRC check failed"):
        collection.load("G/a", base_url=server.url)
    assert files_in(cache) == []


def test_truncated_archive_with_honest_length_leaves_nothing(server, cache):
    server.add("G/a", plain(matrix())[:-1000])
    with pytest.raises(CollectionError, match="not usable"):
        collection.load("G/a", base_url=server.url)
    assert files_in(cache) == []


def checksum(algorithm: str, data: bytes) -> str:
    return base64.b64encode(hashlib.new(algorithm, data).digest()).decode()


CHECKSUMS = {
    "Content-MD5": lambda data: checksum("md5", data),
    "Digest": lambda data: "unixsum=30637, SHA-256=" + checksum("sha256", data),
    "Repr-Digest": lambda data: f"sha-512=:{checksum('sha512', data)}:",
    "ETag": lambda data: f'"{hashlib.md5(data).hexdigest()}"',
}


@pytest.mark.parametrize("header", CHECKSUMS)
def test_checksum_of_the_server_is_compared(server, cache, header):
    data = server.add("G/a", plain(matrix()))
    server.headers = {header: CHECKSUMS[header](data + b"another file")}
    with pytest.raises(CollectionError, match="the server promised"):
        collection.load("G/a", base_url=server.url)
    assert files_in(cache) == []

    server.headers = {header: CHECKSUMS[header](data)}
    server.cuts = [5000]  # it is the whole that is compared, not the last part
    assert collection.load("G/a", base_url=server.url).shape == (300, 300)


def test_malformed_checksum_is_not_taken_for_none(server):
    server.add("G/a", plain(matrix()))
    server.headers = {"Content-MD5": "!!!"}
    with pytest.raises(CollectionError, match="promised !!!"):
        collection.load("G/a", base_url=server.url)


def test_etag_of_an_encrypted_object_is_no_checksum(server):
    server.add("G/a", plain(matrix()))
    server.headers = {"ETag": f'"{"0" * 32}"', "x-amz-server-side-encryption": "aws:kms"}
    assert collection.load("G/a", base_url=server.url).shape == (300, 300)


def test_tampered_cache_is_detected(server, cache):
    server.add("G/a", plain(matrix()))
    collection.load("G/a", base_url=server.url)
    path = cache / "G" / "a.tar.gz"
    path.write_bytes(plain(matrix(rng=132435465)))  # a valid archive, but not the one downloaded

    with pytest.raises(CollectionError, match=r"SHA-256 .* as recorded"):
        collection.load("G/a", base_url=server.url)


@pytest.mark.parametrize("record", [None, "{", "{}", "[]"])
def test_cached_archive_without_a_record_is_not_trusted(server, cache, record):
    server.add("G/a", plain(matrix()))
    collection.load("G/a", base_url=server.url)
    path = cache / "G" / "a.tar.gz.json"
    path.unlink() if record is None else path.write_text(record)

    with pytest.raises(CollectionError, match="cannot be verified"):
        collection.load("G/a", base_url=server.url)


def special(name: str, kind: bytes, target: str = "") -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = target
    return info, b""


def test_hostile_members_write_nothing_and_are_not_read(server, cache, tmp_path):
    class Bomb:
        def __reduce__(self):
            return (tmp_path.joinpath("unpickled").touch, ())

    evil = {
        "../../evil": b"x",
        "a/../../../evil": b"x",
        str(tmp_path / "evil"): b"x",
        "a/a.pkl": pickle.dumps(Bomb()),
        "b/a.mtx": b"not mine",
    }
    links = [
        special("a/link", tarfile.SYMTYPE, "/etc/passwd"),
        special("a/device", tarfile.CHRTYPE),
        special("a/fifo", tarfile.FIFOTYPE),
    ]
    server.add("G/a", archive({**evil, "a/a.mtx": matrix_market(matrix())}, *links))

    A = collection.load("G/a", base_url=server.url)

    np.testing.assert_array_equal(A.toarray(), matrix().toarray())
    left = [f.name for f in tmp_path.rglob("*") if f.is_file()]
    assert sorted(left) == ["a.tar.gz", "a.tar.gz.json", "a.tar.gz.lock"]


GOOD = matrix_market(sparse.eye_array(3))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (archive({"../a/a.mtx": GOOD}), "holds no member a/a.mtx"),
        (archive({"./a/a.mtx": GOOD}), "holds no member a/a.mtx"),
        (archive({"b/b.mtx": GOOD}), "holds no member a/a.mtx"),
        (archive({}), "holds no member a/a.mtx"),
        (archive({}, special("a/a.mtx", tarfile.SYMTYPE, "/etc/passwd")), "not a regular file"),
        (archive({}, special("a/a.mtx", tarfile.LNKTYPE, "a/b.mtx")), "not a regular file"),
        (archive({}, special("a/a.mtx", tarfile.CHRTYPE)), "not a regular file"),
        (archive({}, special("a/a.mtx", tarfile.DIRTYPE)), "not a regular file"),
        (archive({"a/a.mtx": pickle.dumps([1, 2])}), "damaged"),
        (archive({"a/a.mtx": b""}), "damaged"),
        (archive({"a/a.mtx": GOOD}, (tarfile.TarInfo("a/a.mtx"), GOOD)), "occurs twice"),
        (gzip.compress(b"no tar"), "damaged"),
        (b"<html>please log in</html>", "damaged"),
        (b"", "damaged"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_unusable_archive_leaves_nothing(server, cache, data, message):
    server.add("G/a", data)
    with pytest.raises(CollectionError, match=message):
        collection.load("G/a", base_url=server.url)
    assert files_in(cache) == []


@pytest.mark.parametrize("member", ["a/a.mtx", "a/other"])
def test_decompression_bomb_is_refused(server, cache, member, monkeypatch):
    monkeypatch.setattr(reading, "SMALL", 2**16)
    zeros = GOOD + b"\n" * 2**23
    server.add("G/a", archive({"a/a.mtx": GOOD, member: zeros}))
    with pytest.raises(CollectionError, match="bombs"):
        collection.load("G/a", base_url=server.url)
    assert files_in(cache) == []


def test_unknown_name_is_answered_with_similar_ones(server):
    server.files["/files/ssstats.csv"] = INDEX.encode()
    with pytest.raises(CollectionError, match=r"G/frist .* 404 .*Did you mean G/first"):
        collection.load("G/frist", base_url=server.url)


def test_unknown_name_without_an_index(server):
    with pytest.raises(CollectionError, match=r"404 .*Did you mean HB/arc130"):
        collection.load("HB/arc131", base_url=server.url)


def test_unreachable_server_says_what_works_offline():
    with serve() as server:
        url = server.url
    with pytest.raises(CollectionError, match=r"could not be reached .*Offline, .*SPECTOOL_DATA"):
        collection.load("G/a", base_url=url)


@pytest.mark.parametrize("url", ["ftp://x.org", "file:///etc", "sparse.tamu.edu", "https://", ""])
def test_refuses_addresses_that_are_not_of_the_web(url):
    with pytest.raises(InputError, match="base_url must be"):
        collection.load("G/a", base_url=url)


def test_cache_that_cannot_be_made(server, tmp_path, monkeypatch):
    server.add("G/a", plain(matrix(20)))
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("SPECTOOL_CACHE", str(tmp_path / "file"))
    with pytest.raises(CollectionError, match=r"cannot be written .*set SPECTOOL_CACHE"):
        collection.load("G/a", base_url=server.url)


def test_search_online_merges_the_index(server):
    server.files["/files/ssstats.csv"] = INDEX.encode()
    server.add("G/first", archive({"first/first.mtx": matrix_market(matrix())}))
    A = collection.load("G/first", base_url=server.url)

    first, second = collection.search(group="G", online=True, base_url=server.url)

    assert (first.where, first.nnz, first.kind) == ("cache", A.nnz, "structural problem")
    assert first.spd is True  # known to the index only
    assert (second.where, second.field, second.symmetric) == ("online", "complex", False)
    assert (second.n_rows, second.n_cols, second.kind) == (10, 20, "kind, with comma")
    assert len(collection.search(online=True, base_url=server.url)) == 13


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (INDEX.rsplit("G,second", 1)[0], "announces 2 matrices and lists 1"),
        (INDEX.replace("300", "many", 1), "not an index"),
        ("<html>", "not an index"),
        ("", "not an index"),
    ],
)
def test_search_online_refuses_half_an_index(server, text, message):
    server.files["/files/ssstats.csv"] = text.encode()
    with pytest.raises(CollectionError, match=message):
        collection.search(online=True, base_url=server.url)


def test_index_that_is_cut_off_is_an_error(server):
    server.files["/files/ssstats.csv"] = INDEX.encode()
    server.cuts = [40]
    with pytest.raises(CollectionError, match="40 bytes arrived"):
        collection.search(online=True, base_url=server.url)
