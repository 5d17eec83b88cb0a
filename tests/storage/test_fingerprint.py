"""Digests of files."""

from reft.storage import fingerprint


def test_fingerprints_follow_the_content(tmp_path):
    (tmp_path / "a").write_text("1")
    first = fingerprint.of_path(tmp_path)
    assert fingerprint.of_path(tmp_path) == first
    (tmp_path / "a").write_text("2")
    assert fingerprint.of_path(tmp_path) != first
    assert fingerprint.of_path("some/hub-id") == "name:some/hub-id"
