"""ESP8266HTTPUpdate::getAvailableVersion of the core's git: it takes 200 with x-version; 304 is an error to it."""

import pytest

import esp8266
import legacy

OLD = esp8266.arduino("lamp", "1.0.0", ident=False)
NEW = esp8266.arduino("lamp", "2.0.0", filler=60000, ident=False)


@pytest.fixture(scope="module")
def server(make_server):
    return make_server("mqtt.mode=off", "limits.device_requests=0").start()


_next = iter(range(1, 10000))


def ask(server, shelf, **other):
    lamp = esp8266.Updater(server, shelf.name, f"5ccf7c{next(_next):06x}", OLD, **other)
    status, headers, body, rest = lamp.raw("version")
    assert (body, rest) == (b"", b"")
    return status, {n.lower(): v for n, v in headers}.get("x-version")


def test_where_nothing_is_published_there_is_no_version(server):
    assert ask(server, legacy.Shelf(server, "bare")) == (404, None)


def test_what_runs_is_current_until_there_is_more(server):
    shelf = legacy.Shelf(server, "lamp")
    shelf.publish("1.0.0", firmware=OLD)
    assert ask(server, shelf) == (200, "1.0.0")
    shelf.publish("2.0.0", firmware=NEW)
    assert ask(server, shelf) == (200, "2.0.0")


def test_a_version_that_this_device_cannot_have_is_none(server):
    shelf = legacy.Shelf(server, "tight")
    shelf.publish("2.0.0", firmware=NEW)
    assert ask(server, shelf, free_space=4096) == (404, None)
