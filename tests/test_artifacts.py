"""Artifacts in folders, and in buckets of a real server that speaks S3 over HTTP."""

import io
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import settings as moto_settings
from moto.server import ThreadedMotoServer
from optuna.artifacts import FileSystemArtifactStore
from optuna.artifacts.exceptions import ArtifactNotFound

from search.errors import UserError
from search.settings.settings import Settings, load
from search.study import artifacts

SOUND = bytes(range(256)) * 40
KEY = "hunter2/secret+key"


def settings_of(folder: Path, given: str | None = None) -> Settings:
    return load(None, {"study.directory": str(folder), **({"study.artifacts": given} if given else {})})


# Folders


def test_a_folder_is_made_and_read_back(tmp_path: Path) -> None:
    """By Optuna's own store, too: it is what any Optuna tool opens."""
    store = artifacts.open_store(settings_of(tmp_path))
    known = artifacts.artifact_id(SOUND)
    store.write(known, io.BytesIO(SOUND))
    store.write(known, io.BytesIO(SOUND))
    folder = tmp_path / "miniature" / "artifacts"
    assert os.listdir(folder) == [known]
    with FileSystemArtifactStore(folder).open_reader(known) as reader:
        assert reader.read() == SOUND
    assert artifacts.read(store, known) == SOUND
    assert artifacts.read(store, artifacts.artifact_id(b"other")) == artifacts.MISSING
    assert artifacts.read(store, "../x") == artifacts.MISSING  # as a study may say that somebody wrote by hand
    assert (folder / known).stat().st_mode & 0o444 == 0o644 & 0o444, "others may read it"


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    """While it is being written by two at a time there is nothing, then all of it; a failure leaves nothing."""
    store = artifacts.open_store(settings_of(tmp_path, str(tmp_path / "store")))
    known = artifacts.artifact_id(SOUND)
    seen: list[bytes | str] = []

    class Slow(io.BytesIO):
        """The store reads it while a reader, and another writer, are at the same id."""

        def read(self, size: int | None = -1, /) -> bytes:
            seen.append(artifacts.read(store, known))
            content = super().read(size)
            store.write(known, io.BytesIO(SOUND))
            seen.append(artifacts.read(store, known))
            return content

    store.write(known, Slow(SOUND))
    assert seen == [artifacts.MISSING, SOUND]
    assert artifacts.read(store, known) == SOUND

    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        store.write("other", Broken())
    assert os.listdir(tmp_path / "store") == [known]


# Buckets


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """A server with the bucket "sound"; any key is good to it, until INITIAL_NO_AUTH_ACTION_COUNT is 0."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        keys(patch, "any", KEY)
        boto3.client("s3", endpoint_url=f"http://{host}:{port}").create_bucket(Bucket="sound")
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(autouse=True)
def no_other_keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """This machine's own are not used."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    keys(monkeypatch, "any", KEY)


def keys(patch: pytest.MonkeyPatch, key: str, secret: str) -> None:
    patch.setenv("AWS_ACCESS_KEY_ID", key)
    patch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    patch.setattr(boto3, "DEFAULT_SESSION", None)  # it remembers keys


def bucket(folder: Path, endpoint: str, name: str = "sound") -> Any:
    return artifacts.open_store(settings_of(folder, f"s3://{name}?endpoint_url={endpoint}"))


def test_a_bucket_is_written_and_read_back(endpoint: str, tmp_path: Path) -> None:
    store = bucket(tmp_path, endpoint)
    for name, content in (("a.wav", SOUND), ("b.wav", SOUND), ("c.wav", b"two")):
        (tmp_path / name).write_bytes(content)
    ids = artifacts.upload(store, [tmp_path / name for name in ("a.wav", "b.wav", "c.wav")])
    assert ids["a.wav"] == ids["b.wav"] == artifacts.artifact_id(SOUND) != ids["c.wav"]
    assert artifacts.read(bucket(tmp_path, endpoint), ids["a.wav"]) == SOUND
    assert artifacts.read(store, "gone") == artifacts.MISSING


def test_a_file_of_any_size_goes_into_a_bucket_and_back(
    endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In parts, one of which is in memory at a time; half of it is not read on once nobody wants it."""
    monkeypatch.setattr(artifacts, "CHUNK", 1000)
    store = bucket(tmp_path, endpoint)
    there, back = tmp_path / "there", tmp_path / "back"
    there.write_bytes(SOUND)
    artifacts.put(store, "state-x", there)
    assert artifacts.fetch(store, "state-x", back, lambda: True)
    assert back.read_bytes() == SOUND
    wanted = iter([True, False])
    assert not artifacts.fetch(store, "state-x", back, lambda: next(wanted))
    assert back.read_bytes() == SOUND[:1000]
    for _ in range(2):
        artifacts.remove(store, "state-x")
    with pytest.raises(ArtifactNotFound):
        artifacts.fetch(store, "state-x", back, lambda: True)


@pytest.mark.parametrize(("wrong", "code"), [("id", "InvalidAccessKeyId"), ("secret", "SignatureDoesNotMatch")])
def test_a_wrong_key_is_named_by_the_servers_code_alone(
    endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str, code: str
) -> None:
    iam = boto3.client("iam", endpoint_url=endpoint, region_name="us-east-1")
    iam.create_user(UserName=wrong)
    issued = iam.create_access_key(UserName=wrong)["AccessKey"]
    monkeypatch.setattr(moto_settings, "INITIAL_NO_AUTH_ACTION_COUNT", 0)
    keys(monkeypatch, "AKIAHUNTER2" if wrong == "id" else issued["AccessKeyId"], KEY)
    assert artifacts.read(bucket(tmp_path, endpoint), "id") == f"not read from the artifact store: {code}"


def test_a_server_that_never_answers_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert 2 * artifacts.ANSWER + 5 < 30
    monkeypatch.setattr(artifacts, "ANSWER", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        store = bucket(tmp_path, f"http://127.0.0.1:{listener.getsockname()[1]}")
        told = artifacts.read(store, "id")
    assert isinstance(told, str) and told.startswith("not read from the artifact store: ")
    assert KEY not in told


@pytest.mark.parametrize(
    "given",
    [
        "s3://sound?endpoint_url=https://AKIA:hunter2@host",
        "s3://hunter2%40sound",
        "s3://sound?aws_secret_access_key=hunter2",
        "s3://sound?endpoint_url=ftp://host",
        "s3://[half",
        "https://hunter2.example.org/sound",
    ],
)
def test_any_other_url_is_refused_and_never_repeated(tmp_path: Path, given: str) -> None:
    with pytest.raises(UserError, match=r"^study\.artifacts is .*s3://BUCKET\?endpoint_url=https://HOST") as caught:
        artifacts.open_store(settings_of(tmp_path, given))
    told = f"{caught.value} {caught.value.__cause__} {caught.value.__context__}"
    assert not any(word in told for word in ("hunter2", "AKIA"))
    assert ("AWS_SECRET_ACCESS_KEY" in told) == ("@" in given)
    assert list(tmp_path.iterdir()) == []
