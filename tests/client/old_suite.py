"""Run by `test_old_suite.py` in an environment that has pyravendb 3.5.4.3: its own tests, at our server."""

from __future__ import annotations

import collections
import inspect
import sys
import unittest

# Python 3.11 has it no more, and pyravendb reads constructors with it.
Spec = collections.namedtuple("Spec", "args varargs keywords defaults")
inspect.getargspec = lambda function: Spec(*inspect.getfullargspec(function)[:4])  # type: ignore[attr-defined]

from pyravendb import tests  # type: ignore[import-not-found]  # noqa: E402
from pyravendb.connection import requests_factory  # type: ignore[import-not-found]  # noqa: E402

ADDRESS = "http://localhost:8081"  # which its tests have in them


def suite(url: str) -> unittest.TestSuite:
    """All its tests, which ask this server."""
    for module in (requests_factory.HttpRequestsFactory,):
        before = module.__init__

        def begin(self, given, *more, before=before, **others):  # type: ignore[no-untyped-def]
            before(self, given.replace(ADDRESS, url), *more, **others)

        module.__init__ = begin
    [folder] = tests.__path__
    return unittest.TestLoader().discover(folder, top_level_dir=folder.rpartition("/pyravendb/")[0])


if __name__ == "__main__":
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=2).run(suite(sys.argv[1]))
    print("ran", result.testsRun)
