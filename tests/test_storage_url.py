"""URLs of databases: each is read as meant or refused in one line, and nothing of a password is ever shown."""

import json
from pathlib import Path
from urllib.parse import quote, unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.errors import UserError
from search.settings.sections import Study
from search.settings.settings import load
from search.settings.storage_url import check_storage, safe_url
from search.study.server import parse, reason_of
from search.text import without_passwords, without_urls
from tests.in_process import StudyPy

CANARY = "hunter2"

schemes = st.sampled_from(
    ["postgresql", "postgres", "POSTGRESQL", *(f"postgresql+{d}" for d in ("psycopg", "psycopg2", "asyncpg", "pg8000"))]
)
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
odd = st.text(st.sampled_from("@:/?#[]%&=+ '\"\\.;,$(){}|~^<>!*ሀä1a"), max_size=8)
passwords = st.tuples(odd, odd).map(lambda ends: CANARY.join(ends))
hosts = st.sampled_from(["db.example.org", "127.0.0.1", "[::1]", "[fe80::1%25eth0]", "", "h-1_2"])
ports = st.none() | st.integers(1, 65535)
parameters = st.dictionaries(st.sampled_from(["sslmode", "options", "password"]), texts.filter(bool), max_size=3)


def accepted(given_url: str) -> str | None:
    """The URL that a study takes; None where it is refused, in a line without the canary."""
    url, told = Study(storage=given_url).storage, ""
    assert url is not None
    try:
        check_storage(url)
    except UserError as error:
        told = str(error)
    assert CANARY not in told and "\n" not in told
    return None if told else url


def assert_hidden(url: str, password: str) -> None:
    """Nor in what a driver may say."""
    assert CANARY not in safe_url(url)
    for said in (f"failed with {url}", f"no host {password}@h", f"invalid {url!r}"):
        assert CANARY not in reason_of(ValueError(said), url)


many = settings(max_examples=300, deadline=None)


@many
@given(schemes, texts, passwords, hosts, ports, st.just("db") | texts, parameters)
def test_a_url_that_is_encoded_is_read_as_meant(
    scheme: str, user: str, password: str, host: str, port: int | None, database: str, query: dict[str, str]
) -> None:
    words = [f"{name}={quote(CANARY + text if name == 'password' else text, safe='')}" for name, text in query.items()]
    place = f"{host}{'' if port is None else f':{port}'}/{quote(database, safe='')}?{'&'.join(words)}"
    url = accepted(f" {scheme}://{quote(user, safe='')}:{quote(password, safe='')}@{place}\n")
    assert url
    read = parse(url)
    assert (read.drivername, read.username or "", read.password) == ("postgresql+psycopg", user, password)
    assert (read.host or "", read.port, read.database or "") == (host.strip("[]"), port, database)
    assert {k: v.removeprefix(CANARY) for k, v in read.query.items() if isinstance(v, str)} == query
    assert_hidden(url, password)


@many
@given(schemes, st.sampled_from(["me", ""]), passwords, hosts, ports, st.sampled_from(["/db", "", "/db?a=@", "?a=b:c"]))
def test_a_password_as_it_is_typed_is_read_or_refused(
    scheme: str, user: str, password: str, host: str, port: int | None, rest: str
) -> None:
    typed = f"{scheme}://{user}:{password}@{host}{'' if port is None else f':{port}'}{rest}"
    url = accepted(typed)
    assert (url is None) == ("@" in password + rest)
    if url:
        read = parse(url)
        assert (read.password, read.host or "", read.port) == (unquote(password), host.strip("[]"), port)
    for said in (safe_url(typed), without_passwords(f"{typed} is bad"), without_urls(f"no {typed}")):
        assert CANARY not in said, said


without_colon = odd.filter(lambda text: ":" not in text)


@many
@given(
    st.sampled_from(["postgresql://", "postgres:", "mysql://", "x"]),
    without_colon,
    passwords.filter(lambda password: not password.startswith("//")),  # x://NAME@ has a user and no password
    odd,
)
def test_any_other_text_is_refused_or_hidden(scheme: str, before: str, password: str, after: str) -> None:
    typed = f"{scheme}{before}:{password}@{after}"
    url = accepted(typed)
    assert CANARY not in safe_url(typed)
    if url:
        assert_hidden(url, password)


def test_a_server_s_port_that_is_none_and_two_at_signs_come_with_the_next_step() -> None:
    for typed in ("postgresql://me:p@ss@host/db", "postgresql://me:pass/db", "postgresql://me@host:99999/db"):
        with pytest.raises(UserError, match=r"percent-encoded .*PGPASSWORD"):
            check_storage(typed)


URLS = [
    ("sqlite:///study.db", "sqlite:///study.db"),
    ("postgresql://reader@host:5432/db", "postgresql://reader@host:5432/db"),
    ("postgresql://reader:hunter2@host:5432/db", "postgresql://reader:***@host:5432/db"),
    ("postgresql://reader:hunter2:/x?&#@host/db", "postgresql://reader:***@host/db"),
    ("postgresql://host:5432/db", "postgresql://host:5432/db"),
    ("postgresql://reader@host/db?PASSWORD=hunter2&x=1", "postgresql://reader@host/db?PASSWORD=***"),
    ("postgresql://reader@host/db?x=1&password=x&hunter2=3", "postgresql://reader@host/db?x=1&password=***"),
    ("postgresql://host/db?options=-cpassword%3Dhunter2", "postgresql://host/db?options=-cpassword%3D***"),
    ("postgresql://host/dbname=db%20password=hunter2", "postgresql://host/dbname=db%20password=***"),
    ("postgresql://host/db?ssl%70assword=hunter2", "postgresql://host/db?ssl%70assword=***"),
    ("postgresql://reader:hunter2/db", "postgresql://reader:***"),  # the @ was forgotten
]


@pytest.mark.parametrize(("url", "shown"), URLS)
def test_the_password_reaches_the_database_and_no_file(
    url: str, shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert safe_url(url) == shown
    if not url.endswith("hunter2/db"):
        found = load(None, {"study.storage": url})
        assert found.storage_url == url
        assert f"storage = {json.dumps(shown)}" in found.to_toml()
        again = load(None, {"study.storage": safe_url(url)}).storage_url
        assert "***@" not in again and parse(again).host == parse(url).host


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--storage", "postgresql://me:p@hunter2@127.0.0.1/db"], "more than one at sign"),
        (["status", "--storage", "postgresql://me@h/db?password=x&hunter2=3"], "has an option that"),
        (
            ["status", "--storage", "postgresql://me:hunter2@a:1,b:2/db"],
            "Several hosts are written ?host=one:5432&host",
        ),
        (
            ["status", "--storage", "'postgresql://me:p@hunter2@h/db' "],
            "storage is 'postgresql://me:***@h/db', which has",
        ),
        *(
            (["status", "--storage", f"sqlite://{rest}"], "must be a file in a folder that exists")
            for rest in ("//dev/null", "/x.db?timeout=abc", "me:hunter2@h/db")
        ),
        (["--trials", "host=h password=hunter2"], "for '--trials': 'host=h password=…"),
        (["status", "--storage", "postgresql:me:hunter2@h/db"], "not the URL of a database"),
        (["status", "--storage", "mysql+pymysql://me:hunter2@h/db"], "must be of sqlite or postgresql"),
        (["status", "--settings", "postgresql://me:hunter2@h/db"], "does not exist"),
        (["status", "--set", "data.train=postgresql://me:hunter2@h/db"], "data.train is a URL"),
        (["status", "postgresql://me:p) hunter2@h/db"], "unexpected extra argument (postgresql://…"),
    ],
)
def test_what_is_refused_shows_no_password(study_py: StudyPy, arguments: list[str], words: str) -> None:
    code, out, err = study_py(*arguments)
    assert (code, err.count("\n")) == (2, 1)
    assert words in err and CANARY not in out + err
