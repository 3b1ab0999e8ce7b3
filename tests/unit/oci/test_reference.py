"""References: canonical and familiar forms, and Docker's sentences for malformed ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.errors import InvalidParameter
from sampan.oci.reference import Reference, parse_repository

HEX = "a" * 64


@pytest.mark.parametrize(
    ("typed", "canonical", "familiar"),
    [
        ("busybox", "docker.io/library/busybox", "busybox"),
        ("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"),
        ("me/app", "docker.io/me/app", "me/app"),
        ("library/busybox", "docker.io/library/busybox", "busybox"),
        ("docker.io/busybox", "docker.io/library/busybox", "busybox"),
        ("index.docker.io/me/app:2", "docker.io/me/app:2", "me/app:2"),
        ("localhost/x", "localhost/x", "localhost/x"),
        ("localhost:5000/x:y", "localhost:5000/x:y", "localhost:5000/x:y"),
        ("[::1]:5000/a/b", "[::1]:5000/a/b", "[::1]:5000/a/b"),
        ("Host/x", "Host/x", "Host/x"),
        (f"r.io/a/b:t@sha256:{HEX}", f"r.io/a/b:t@sha256:{HEX}", f"r.io/a/b:t@sha256:{HEX}"),
    ],
)
def test_a_reference_has_a_canonical_and_a_familiar_form(typed: str, canonical: str, familiar: str) -> None:
    reference = Reference.parse(typed)
    assert (str(reference), reference.familiar) == (canonical, familiar)


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("", "invalid reference format"),
        ("a:b:c", "invalid reference format"),
        ("-a", "invalid reference format"),
        ("a//b", "invalid reference format"),
        ("a b", "invalid reference format"),
        ("x@sha256:12", "invalid reference format"),
        ("Busybox", "invalid reference format: repository name (library/Busybox) must be lowercase"),
        (HEX, f"invalid repository name ({HEX}), cannot specify 64-byte hexadecimal strings"),
        ("a" * 256, "repository name must not be more than 255 characters"),
    ],
)
def test_a_malformed_reference_is_refused_in_dockers_words(typed: str, sentence: str) -> None:
    with pytest.raises(InvalidParameter) as raised:
        Reference.parse(typed)
    assert raised.value.message == sentence


def test_a_bare_name_gets_the_tag_latest() -> None:
    assert Reference.parse("a").tagged().familiar == "a:latest"
    assert Reference.parse(f"a@sha256:{HEX}").tagged().tag is None


def test_a_tag_is_checked() -> None:
    with pytest.raises(InvalidParameter, match="invalid tag format"):
        Reference.parse("a").with_tag("not/one")


def test_a_repository_has_no_tag() -> None:
    with pytest.raises(InvalidParameter):
        parse_repository("a:b")


@given(st.text(max_size=80))
def test_any_text_parses_or_is_refused(text: str) -> None:
    try:
        reference = Reference.parse(text)
    except InvalidParameter:
        return
    assert Reference.parse(str(reference)) == reference
    assert Reference.parse(reference.familiar) == reference
