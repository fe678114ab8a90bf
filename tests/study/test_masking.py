"""No password and no token in what is printed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeledit.study.masking import has_password, masked


@pytest.mark.parametrize(
    ("text", "instead"),
    [
        ("https://user:pass@mirror.org/a", "https://***@mirror.org/a"),
        ("https://token@mirror.org/a", "https://***@mirror.org/a"),
        ("see http://u:p%40w@[::1]:80/x, or", "see http://***@[::1]:80/x, or"),
        ("http://u:p@w@host/x", "http://***@host/x"),
        ("http://u:p/w@host/x", "http://***@host/x"),
        ("socks5h://u:secret@proxy:1080", "socks5h://***@proxy:1080"),
        ("got hf_AbCdEf0123456789.", "got ***."),
        ("Authorization: Bearer abcdef0123456789", "Authorization: Bearer ***"),
        ("https://cdn/x?X-Amz-Signature=abc1&b=2", "https://cdn/x?X-Amz-Signature=***&b=2"),
        ("https://cdn/x?a=1&Key-Pair-Id=K2", "https://cdn/x?a=1&Key-Pair-Id=***"),
    ],
)
def test_passwords_and_tokens_are_masked(text, instead):
    assert masked(text) == instead
    assert masked(instead) == instead


@pytest.mark.parametrize(
    "text",
    [
        "https://mirror.org/a@b/c",
        "https://mirror.org:8080/some/data@0123/facts.json",
        "some/data@0123456789/facts.json",
        "https://[::1]:80/x@y",
        "mail a:b@c.org, 3:4@5",
        "https://host/x?page=3&size=4",
        "two lines\nhttps://a.org\nu@v",
    ],
)
def test_what_is_no_secret_stays(text):
    assert masked(text) == text
    assert not has_password(text)


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("HF_TOKEN", "a-token-of-another-form", "a-token-of-another-form"),
        ("OPENAI_API_KEY", "a-key-of-any-form", "a-key-of-any-form"),
        ("HTTPS_PROXY", "user:s3cret!x@proxy:3128", "s3cret!x"),
        ("http_proxy", "http://user:s3cret!x@proxy:3128", "s3cret!x"),
        ("PIP_INDEX_URL", "https://user:s3cret!x@index.org/simple", "s3cret!x"),
        ("HF_ENDPOINT", "https://user:s3cret!x@hub.org", "s3cret!x"),
    ],
)
def test_secrets_of_the_environment_are_masked_anywhere(monkeypatch, name, value, secret):
    monkeypatch.setenv(name, value)
    assert masked(f"cannot reach user:{secret}@proxy") == "cannot reach user:***@proxy"


words = st.text(st.characters(codec="ascii", exclude_characters="/?#@:[]% '\"\\"), min_size=1).map(
    lambda text: "".join(c for c in text if c.isprintable()) or "x"
)


@given(user=words, password=words, rest=st.text("ab/@.:?=&1", max_size=12))
def test_any_password_in_an_address_is_masked(user, password, rest):
    address = f"https://{user}Q:Q{password}@host/{rest}"
    assert f"Q:Q{password}" not in masked(f"from {address} and on")
    assert has_password(address)
