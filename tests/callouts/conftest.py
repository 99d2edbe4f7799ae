"""Keys, forged tokens and a web site of an application or identity provider."""

from __future__ import annotations

from tests.access.conftest import ec_key, ed_key, forge, other_rsa_key, rsa_key, site

__all__ = ["ec_key", "ed_key", "forge", "other_rsa_key", "rsa_key", "site"]
