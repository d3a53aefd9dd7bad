"""The database fixtures, for the tests of this folder."""

from tests.fixtures_db import *  # noqa: F403
