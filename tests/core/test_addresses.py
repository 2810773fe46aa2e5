"""Passwords in addresses: hidden wherever they are shown or stored, whole where a connection is opened."""

import os
import re
import shlex
from urllib.parse import unquote

import pytest
from omegaconf import OmegaConf

from mimii_pl.core.addresses import ADDRESSES, hide_passwords, whole_address, without_password
from mimii_pl.core.errors import InputError

pytestmark = pytest.mark.usefixtures("no_addresses")


@pytest.fixture
def no_addresses(monkeypatch):
    monkeypatch.setenv(ADDRESSES, "{}")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.mark.parametrize(
    ("whole", "hidden"),
    [
        ("http://me:secret@host:5000", "http://me:***@host:5000"),
        ("http://me:secret@host:5000/path/a@b", "http://me:***@host:5000/path/a@b"),
        ("https://me:s%40cr%3Aet@host", "https://me:***@host"),
        ("https://me:s@cr:et@host/", "https://me:***@host/"),
        ("http://me:12345@host", "http://me:***@host"),
        ("http://me:s/cr?e#t@host", "http://me:***@host"),
        ("http://me:it's@host", "http://me:***@host"),
        ("http://me:a,b]c@host", "http://me:***@host"),
        ("http://me:secret@[::1]:5000/x", "http://me:***@[::1]:5000/x"),
        ("http://:secret@host", "http://:***@host"),
        ("postgresql://me:secret@host/studies", "postgresql://me:***@host/studies"),
        ("postgresql+psycopg2://me:sec/ret@host:5432/studies", "postgresql+psycopg2://me:***@host:5432/studies"),
        ("mysql://me:secret@/studies", "mysql://me:***@/studies"),
        ("postgresql://host/studies?user=me&password=secret", "postgresql://host/studies?user=me&password=***"),
        ("HTTP://Me:Secret@Host", "HTTP://Me:***@Host"),
    ],
)
@pytest.mark.parametrize("around", ["{}", "sweep.storage={}", "a='{}'", '"{}"', "see {} and go on", "[{}]"])
def test_a_password_is_hidden_and_known(whole, hidden, around):
    if "'" in whole and "'" in around:
        pytest.skip("it would have to be escaped")
    assert without_password(around.format(whole)) == around.format(hidden)
    assert without_password(around.format(hidden)) == around.format(hidden)
    assert unquote(whole_address(hidden)) == unquote(whole)
    assert re.search(r"[:=][^/?#@]+(@|$)", whole_address(hidden).partition("://")[2])  # as libraries read it


@pytest.mark.parametrize("token", ["http://tok3n@host:5000", "http://tok3n:@host:5000"])
def test_a_token_as_the_user_is_hidden_and_sent(token):
    assert without_password(token) == "http://***@host:5000"
    assert whole_address("http://***@host:5000/path") == "http://tok3n:@host:5000/path"


@pytest.mark.parametrize(
    "text",
    [
        "http://host:5000",
        "http://host:5000/path@x",
        "http://[::1]:5000/path@x",
        "postgresql://me@host/studies",
        "sqlite:////data/a:b@c/mlflow.db",
        "file:///data/a:b@c",
        "run=models:/fan@champion",
        "[machine://any,'file:///data/x@y']",
        "git@host:me/it",
        "C://me",
        "[http://host:5000,x@y]",
        """{"uri":"http://host:5000","mail":"x@y"}""",
        "",
    ],
)
def test_anything_else_stays(text):
    assert without_password(text) == text
    assert os.environ[ADDRESSES] == "{}"
    assert whole_address(text) == text


def test_several_addresses_in_one_argument():
    text = "dataset.mirrors=[http://a:one@host,http://b:two@host,https://host/c@d]"
    hidden = "dataset.mirrors=[http://a:***@host,http://b:***@host,https://host/c@d]"
    assert without_password(text) == hidden
    assert whole_address("http://a:***@host") == "http://a:one@host"
    assert whole_address("http://b:***@host") == "http://b:two@host"


def test_a_password_goes_to_its_own_host_only():
    without_password("http://me:secret@host")
    for other in (
        "http://me:***@host.evil.org",
        "http://me:***@host:5000",
        "https://me:***@host",
        "http://it:***@host",
    ):
        assert whole_address(other) is None
    assert whole_address("http://me:***@host/path?x=1") == "http://me:secret@host/path?x=1"


def test_a_password_comes_from_the_environment_and_a_later_one_replaces_it(monkeypatch):
    assert whole_address("http://me:***@host") is None
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:old@host")
    assert whole_address("http://me:***@host") == "http://me:old@host"
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    without_password(r"http://me:n\1ew@host")
    assert unquote(whole_address("http://me:***@host")) == r"http://me:n\1ew@host"


def test_a_configuration_and_an_error_hold_none():
    cfg = OmegaConf.create({"a": {"uri": "http://me:secret@host"}, "b": ["x", "http://me:secret@host", {"c": 1}]})
    hide_passwords(cfg)
    assert "secret" not in OmegaConf.to_yaml(cfg)
    assert shlex.split(cfg.b[1]) == ["http://me:***@host"]
    assert str(InputError("no answer from http://me:secret@host")) == "no answer from http://me:***@host"


def test_a_password_is_not_put_into_the_address_of_another_server(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@host")
    assert whole_address("http://evil.example/http://me:***@host") is None
    assert whole_address("sqlite:///http://me:***@host/x") is None
    assert whole_address("http://me:***@host.evil.example") is None
    assert whole_address("http://me:***@host/path") == "http://me:secret@host/path"
