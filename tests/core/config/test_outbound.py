"""What the environment says of the way out."""

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_relay.core.addresses import ip_of
from claude_relay.core.config import Address, OutboundProxy, led, outbound, parse, way_out, way_to
from claude_relay.core.config.outbound import Exempt, WayOut, is_this_machine, leads_to

SECRET = "hunter2"
PROXY = f"http://me:{SECRET}@proxy.corp.example:3128"
FAR = ("https", "api.anthropic.com", 443)


def through(environ, place=FAR, listeners=()):
    proxy = WayOut.of(environ, listeners).to(*place)
    return None if proxy is None else proxy.label


def test_examples_in_the_documentation():
    assert doctest.testmod(outbound).failed == 0


@pytest.mark.parametrize(
    ("environ", "https", "http"),
    [
        ({}, None, None),
        ({"HTTPS_PROXY": "http://a:1"}, "http://a:1 (HTTPS_PROXY)", None),
        ({"HTTP_PROXY": "http://a:1"}, None, "http://a:1 (HTTP_PROXY)"),
        ({"https_proxy": "http://a:1", "HTTPS_PROXY": "http://b:1"}, "http://a:1 (https_proxy)", None),
        ({"ALL_PROXY": "http://a:1"}, "http://a:1 (ALL_PROXY)", "http://a:1 (ALL_PROXY)"),
        (
            {"all_proxy": "http://a:1", "HTTPS_PROXY": "http://b:1"},
            "http://b:1 (HTTPS_PROXY)",
            "http://a:1 (all_proxy)",
        ),
        ({"https_proxy": "", "HTTPS_PROXY": "http://b:1"}, None, None),
        ({"HTTPS_PROXY": " ", "ALL_PROXY": "http://a:1"}, "http://a:1 (ALL_PROXY)", "http://a:1 (ALL_PROXY)"),
        ({"HTTPS_PROXY": "a:1"}, "http://a:1 (HTTPS_PROXY)", None),
        ({"HTTPS_PROXY": "a"}, "http://a:80 (HTTPS_PROXY)", None),
        ({"HTTPS_PROXY": " HTTPS://A:1/ "}, "https://a:1 (HTTPS_PROXY)", None),
        ({"HTTPS_PROXY": "[::1]:3128"}, "http://[::1]:3128 (HTTPS_PROXY)", None),
        ({"HTTPS_PROXY": f"me:{SECRET}@a:1"}, "http://a:1 (HTTPS_PROXY)", None),
    ],
)
def test_which_variable_counts(environ, https, http):
    assert through(environ) == https
    assert through(environ, ("http", "models.example", 80)) == http
    assert WayOut.of(environ).warnings == ()


def test_the_credential_is_sent_and_not_shown():
    proxy = WayOut.of({"HTTPS_PROXY": "http://me%40x:p%3Aass@a:1"}).to(*FAR)
    assert (proxy.username, proxy.password) == ("me@x", "p:ass")
    assert proxy.authorization == "Basic bWVAeDpwOmFzcw=="
    assert "p:ass" not in f"{proxy!r} {proxy} {proxy.label}"


@pytest.mark.parametrize(
    ("entries", "direct", "through_it"),
    [
        ("*", ["x.example", "1.2.3.4:9"], []),
        ("example.com", ["example.com", "a.b.example.com", "EXAMPLE.com", "example.com."], ["badexample.com", "com"]),
        (".example.com", ["example.com", "a.example.com"], ["badexample.com"]),
        ("*.example.com", ["example.com", "a.example.com"], ["badexample.com"]),
        ("example.com:8443", ["example.com:8443", "a.example.com:8443"], ["example.com", "example.com:443"]),
        ("a.example,b.example", ["a.example", "b.example"], ["c.example"]),
        ("a.example  b.example", ["a.example", "b.example"], ["c.example"]),
        (" a.example , ,.b.example ", ["a.example", "x.b.example"], ["c.example"]),
        ("10.1.2.3", ["10.1.2.3", "10.1.2.3:8000"], ["10.1.2.4", "110.1.2.3", "x10.1.2.3"]),
        ("10.1.2.3:8000", ["10.1.2.3:8000"], ["10.1.2.3"]),
        ("10.0.0.0/8", ["10.200.1.1"], ["11.0.0.1", "10.example"]),
        ("10.9.9.9/8", ["10.200.1.1"], ["11.0.0.1"]),
        ("fd00::/8", ["[fd12::1]"], ["[fe80::1]"]),
        ("[fd12::1]:443,fd13::1", ["[fd12::1]:443", "[fd13::1]:9"], ["[fd12::1]:9"]),
        ("EXAMPLE.com.", ["example.com"], []),
        ("", [], ["example.com"]),
        (". , :80, [, ]/", [], ["example.com", "1.2.3.4"]),
    ],
)
def test_no_proxy(entries, direct, through_it):
    for name in ("NO_PROXY", "no_proxy"):
        way = WayOut.of({"HTTPS_PROXY": PROXY, name: entries})
        for place in (*direct, *through_it):
            address = Address.parse(place if ":" in place.rpartition("]")[2] else f"{place}:443")
            assert (way.to("https", address.host, address.port) is None) == (place in direct), place
    assert way.to_url("https://[fd99::1]:9/v1") is (None if entries == "*" or "fd00" in entries else way.https)


def test_no_proxy_in_lower_case_wins():
    environ = {"HTTPS_PROXY": PROXY, "no_proxy": "a.example", "NO_PROXY": "b.example"}
    assert through(environ, ("https", "a.example", 443)) is None
    assert through(environ, ("https", "b.example", 443)) is not None
    assert through(environ | {"no_proxy": ""}, ("https", "b.example", 443)) is None


@given(st.text(max_size=30), st.text(max_size=20), st.integers(0, 65535))
def test_no_entry_is_a_mistake(entry, host, port):
    assert isinstance(Exempt.parse(entry).holds(host, port), bool)
    assert WayOut.of({"https_proxy": entry, "no_proxy": entry}).to("https", "api.anthropic.com", 443) is not PROXY


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST", "x.localhost", "127.0.0.1", "127.9.9.9", "127.1", "0x7f000001", "2130706433", "017700000001",
     "::1", "[::1]", "::ffff:127.0.0.1", "0.0.0.0", "::", "0"],
)  # fmt: skip
def test_this_machine(host):
    assert is_this_machine(host.lower().strip("[]"))
    assert through({"ALL_PROXY": PROXY}, ("http", host, 8000)) is None


@pytest.mark.parametrize(
    "host", ["", "127.example", "localhost.example", "1.2.3.4", "256.1", "1.2.3.4.5", "08.1", "0x", "::2"]
)
def test_another_machine(host):
    assert not is_this_machine(host)


def test_addresses_however_they_are_written():
    assert str(ip_of("10.1")) == "10.0.0.1"
    assert str(ip_of("10.1.258")) == "10.1.1.2"
    assert str(ip_of("0300.0250.1.1")) == "192.168.1.1"
    assert str(ip_of("fe80::1%eth0")) == "fe80::1"
    assert ip_of("example.com") is None


@pytest.mark.parametrize(
    ("text", "port", "names"),
    [
        ("socks5://h:1", 1, ("", "")),
        ("SOCKS5H://u:hunter2@h", 1080, ("u", "hunter2")),
        ("https://h", 443, ("", "")),
        ("h:3128", 3128, ("", "")),
    ],
)
def test_kinds_of_proxies(text, port, names):
    way = WayOut.of({"ALL_PROXY": text})
    assert (way.https.port, (way.https.username, way.https.password)) == (port, names)
    assert way.warnings == ()
    assert "hunter2" not in repr(way.https) + str(way.https) + way.https.label


@pytest.mark.parametrize(
    ("variable", "text"),
    [("HTTPS_PROXY", "http://h/proxy.pac"), ("ALL_PROXY", "pac+https://h/x"), ("https_proxy", "http://wpad/wpad.dat")],
)
def test_a_pac_file_is_reported(variable, text):
    [warning] = WayOut.of({variable: text}).warnings
    assert warning.startswith(f"{variable} names a PAC file")
    assert "directly" in warning
    [warning] = WayOut.of({"AUTO_PROXY": text}).warnings
    assert warning.startswith("AUTO_PROXY names a PAC file")


@pytest.mark.parametrize("text", ["socks4a://h", "socks://u:hunter2@h:1/"])
def test_another_socks_proxy_is_reported(text):
    way = WayOut.of({"HTTPS_PROXY": text})
    assert way.https is None
    [warning] = way.warnings
    assert warning.startswith("HTTPS_PROXY names a SOCKS proxy that is not of version 5 (socks")
    assert "directly" in warning
    assert SECRET not in warning


@pytest.mark.parametrize(
    "text",
    ["ftp://h:1", f"http://u:{SECRET}@h:x", f"http://{SECRET} x", "http://", f"quic://{SECRET}@h", "http://h/path"],
)
def test_what_is_no_proxy_is_told(text):
    way = WayOut.of({"ALL_PROXY": text})
    assert way.proxies == ()
    [warning] = way.warnings
    assert warning.startswith("ALL_PROXY ")
    assert SECRET not in warning


def test_the_relays_own_listeners():
    config = parse("listen: {proxy: 127.0.0.1:8080, base_url: '0.0.0.0:8082', status: 192.0.2.7:9}", environ={})
    for own in ("127.0.0.1:8080", "localhost:8080", "[::1]:8082", "0.0.0.0:8080", "u:p@LocalHost:8082", "192.0.2.7:9"):
        way = way_out(config, {"https_proxy": f"http://{own}"})
        assert way.https is None, own
        assert way.circles[0].startswith("https_proxy names this relay itself")
        assert way.warnings == ()
    for other in ("127.0.0.1:8081", "localhost:3128", "192.0.2.7:8080", "proxy.example:8080"):
        assert way_out(config, {"https_proxy": f"http://{other}"}).https is not None, other
    assert leads_to(Address("::1", 1), "127.0.0.1", 1)


def test_whose_word_counts():
    way = WayOut.of({"HTTPS_PROXY": "http://e:1"})
    url = "https://api.anthropic.com"
    assert str(way_to(url, way)) == "http://e:1"
    assert str(way_to(url, way, None, OutboundProxy.parse("http://p:1"))) == "http://p:1"
    assert str(way_to(url, way, "http://k:1", OutboundProxy.parse("http://p:1"))) == "http://k:1"
    assert way_to(url, way, "direct", OutboundProxy.parse("http://p:1")) is None
    assert way_to(url, way, None, OutboundProxy.parse(" Direct ")) is None
    assert str(way_to(url, way, "socks5h://k")) == "socks5://k:1080"
    with pytest.raises(ValueError, match="SOCKS"):
        way_to(url, way, "socks4://k:1")
    office = OutboundProxy.parse("socks5://o:1")
    assert way_to(url, way, "office", named={"office": office}) is office
    with pytest.raises(ValueError, match="did you mean 'office'"):
        way_to(url, way, "offise", named={"office": office})
    with pytest.raises(ValueError, match="no proxy has this name"):
        way_to(url, way, "office")


def test_a_provider_with_the_environments_word_filled_in():
    text = (
        "providers: {a: {preset: anthropic}, b: {preset: anthropic, proxy: direct}, c: {base_url: 'http://10.0.0.1'}}"
    )
    config = parse(text, environ={})
    way = way_out(config, {"HTTPS_PROXY": "http://e:1"})
    assert [str(led(provider, way).proxy) for provider in config.providers.values()] == [
        "http://e:1",
        "direct",
        "direct",
    ]
