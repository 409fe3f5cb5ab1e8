"""What the replay stands on inside mitmproxy. When an upgrade changes one of these, the failing sentence says what to look at."""

from __future__ import annotations

import asyncio.selector_events
import dataclasses
import inspect
import re

import h2.connection
import mitmproxy.http
from hyperframe.frame import GoAwayFrame
from mitmproxy import addonmanager, contentviews, hooks
from mitmproxy.addons import default_addons, script
from mitmproxy.addons.next_layer import NextLayer
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.proxy import commands, events, layer, mode_servers, server, tunnel
from mitmproxy.proxy.layers import http, modes
from mitmproxy.proxy.layers.http import _http1, _http2, _http_h2, _upstream_proxy
from tornado import tcpserver

from claude_relay.proxy.messages.wire import headers_of
from claude_relay.proxy.stream.layer import RelayLayer
from claude_relay.proxy.stream.replay import RelayStream


def source(thing: object) -> str:
    return re.sub(r"\s+", " ", inspect.getsource(thing))  # type: ignore[arg-type]


def test_streams_are_made_in_one_place() -> None:
    assert "HttpStream(ctx, stream_id)" in source(http.HttpLayer.make_stream)
    assert inspect.getsource(http).count("HttpStream(ctx") == 1


def test_every_state_that_is_overridden_still_exists() -> None:
    for name in (
        "state_wait_for_request_headers",
        "state_consume_request_body",
        "state_wait_for_response_headers",
        "state_stream_response_body",
        "state_done",
        "state_errored",
        "handle_protocol_error",
        "make_server_connection",
        "check_killed",
        "send_response",
        "start_response_stream",
        "handle_event",
    ):
        assert hasattr(http.HttpStream, name), name
        assert hasattr(RelayStream, name), name


def test_the_request_phase_is_what_try_once_repeats() -> None:
    text = source(http.HttpStream.state_consume_request_body)
    steps = [
        "timestamp_end = time.time()",
        "data.content = bytes(self.request_body_buf)",
        "self.client_state = self.state_done",
        "yield HttpRequestHook(self.flow)",
        "self.check_killed(True)",
        "self.make_server_connection()",
        "RequestHeaders(",
        "RequestData(",
        "RequestTrailers(",
        "RequestEndOfMessage(",
    ]
    places = [text.index(step) for step in steps]
    assert places == sorted(places)


def test_headers_of_the_answer_wait_in_the_state_that_is_overridden() -> None:
    assert "self.server_state = self.state_wait_for_response_headers" in source(
        http.HttpStream.state_wait_for_request_headers
    )


def test_an_accepted_answer_is_sent_after_the_response_hook() -> None:
    text = source(http.HttpStream.send_response)
    assert text.index("yield HttpResponseHook(self.flow)") < text.index("ResponseHeaders(self.stream_id")
    assert "yield from self.flow_done()" in text
    assert "ResponseEndOfMessage(self.stream_id)" in source(http.HttpStream.flow_done)


def test_a_client_that_left_is_found_in_the_queue_of_paused_events() -> None:
    assert "for evt in self._paused_event_queue" in source(http.HttpStream.check_killed)
    assert "isinstance(evt, RequestProtocolError)" in source(http.HttpStream.check_killed)
    assert "self._paused_event_queue.append(event)" in source(layer.Layer.handle_event)
    assert "_paused" in layer.Layer.__annotations__


def test_connect_errors_arrive_as_protocol_errors() -> None:
    text = source(http.HttpStream.make_server_connection)
    assert "self.handle_protocol_error(" in text
    assert "ErrorCode.CONNECT_FAILED" in text


def test_the_http_layer_remembers_what_forget_attempt_forgets() -> None:
    names = set(http.HttpLayer.__annotations__)
    assert {"streams", "connections", "command_sources", "waiting_for_establishment"} <= names
    assert "elif connection.error:" in source(http.HttpLayer.get_connection)


def test_wakeups_are_routed_by_their_source() -> None:
    assert "isinstance(command, commands.RequestWakeup)" in source(http.HttpLayer.event_to_child)
    assert "self.command_sources.pop(event.command)" in source(http.HttpLayer._handle_event)
    assert dataclasses.is_dataclass(events.Wakeup)


def test_waiting_for_a_connection_can_be_called_off() -> None:
    assert "self.waiting_for_establishment.pop(command.connection)" in source(http.HttpLayer.register_connection)
    assert [f.name for f in dataclasses.fields(http.GetHttpConnectionCompleted)] == ["command", "reply"]


def test_outbound_proxies_are_sorted_out_by_their_addresses() -> None:
    """The very object that a server's `via` holds becomes the address of the connection to the proxy, and is compared for pooling."""
    text = source(_upstream_proxy.HttpUpstreamProxy.make)
    assert "scheme, address = ctx.server.via" in text
    assert "http_proxy = connection.Server(address=address)" in text
    assert "self.via == connection.via" in source(http.GetHttpConnection.connection_spec_matches)
    assert "flow = http.HTTPFlow(self.context.client, self.tunnel_connection)" in source(
        _upstream_proxy.HttpUpstreamProxy.start_handshake
    )


def test_a_tunnel_learns_in_one_place_what_became_of_its_connection() -> None:
    text = source(tunnel.TunnelLayer)
    assert text.count("self.event_to_child( events.OpenConnectionCompleted(") == 2
    assert text.count("OpenConnectionCompleted(") == 2


def test_the_words_for_a_proxy_that_refuses() -> None:
    text = source(_upstream_proxy.HttpUpstreamProxy.receive_handshake_data)
    assert "Upstream proxy {proxyaddr} refused HTTP CONNECT request: {response.status_code} " in text
    assert "Error connecting to {proxyaddr}: " in text


def test_the_connection_to_a_proxy_belongs_to_the_layer_of_the_one_behind_it() -> None:
    """Both are keys of the same handler, which is how they are dropped together."""
    assert "self.connections[command.connection] = child" in source(http.HttpLayer.event_to_child)
    assert "self.connections[context.server] = stack[0]" in source(http.HttpLayer.get_connection)


def test_http2_stream_ids_are_mapped_both_ways() -> None:
    assert {"our_stream_id", "their_stream_id", "stream_queue"} <= set(_http2.Http2Client.__annotations__)


def test_clients_are_made_open_and_then_registered() -> None:
    text = source(http.HttpClient._handle_event)
    assert "self.child_layer = Http2Client(self.context)" in text
    assert "self.child_layer = Http1Client(self.context)" in text
    assert text.index("yield from self._handle_event(event)") < text.index("yield RegisterHttpConnection(")
    assert "self.state = self.read_headers" in source(_http1.Http1Connection.start)


def test_the_layers_of_a_connection_follow_its_http_layer() -> None:
    text = source(http.HttpLayer.get_connection)
    assert "context = self.context.fork()" in text
    assert "self.connections[context.server] = stack[0]" in text
    assert "connection_suitable = event.connection_spec_matches(connection)" in text
    assert "elif connection.connected:" in text
    assert "tunnel_connection" in source(tunnel.TunnelLayer.__init__)


def test_the_end_of_an_http1_connection_before_an_answer() -> None:
    text = source(_http1.Http1Client.read_headers)
    assert 'if self.buf: yield ReceiveHttp( ResponseProtocolError( self.stream_id, f"unexpected server response' in text
    assert '"server closed connection"' in text


def test_http2_streams_are_told_of_their_connections_end() -> None:
    close = source(_http2.Http2Connection.close_connection)
    assert "yield CloseConnection(self.conn) for stream_id in self.streams" in close
    assert "self._handle_event = self.done" in close
    assert "yield from self.close_connection(message)" in source(_http2.Http2Connection.protocol_error)
    assert "cmd.event.stream_id = self.their_stream_id[cmd.event.stream_id]" in source(_http2.Http2Client._handle_event)
    assert "if event.stream_id in self.streams:" in source(_http2.Http2Connection.handle_h2_event)
    assert "stream_buffers" in source(_http_h2.BufferedH2Connection.__init__)


def test_h2_takes_nothing_more_after_a_goaway_that_it_reads_itself() -> None:
    connection = h2.connection.H2Connection()
    assert GoAwayFrame in connection._frame_dispatch_table
    assert "self._frame_dispatch_table[frame.__class__](frame)" in source(h2.connection.H2Connection._receive_frame)


def test_sockets_are_found_through_their_handlers() -> None:
    assert "register_connection(handler.layer.context.client.id, handler)" in source(
        mode_servers.ServerInstance.handle_stream
    )
    assert {"writer", "handler"} <= set(server.ConnectionIO.__annotations__)
    assert "transports" in server.ConnectionHandler.__annotations__


def test_giving_up_closes_http1_and_resets_http2() -> None:
    assert "isinstance(event, RequestProtocolError): yield commands.CloseConnection" in source(_http1.Http1Client.send)
    assert "ErrorCode.CANCEL" in source(_http2.Http2Connection._handle_event)


def test_http1_trailers_end_the_parser_with_not_implemented() -> None:
    assert "raise NotImplementedError" in source(_http1.Http1Connection.read_body)


def test_the_layer_can_be_adopted_in_place() -> None:
    assert RelayLayer.__init__ is http.HttpLayer.__init__
    assert not hasattr(http.HttpLayer, "__slots__")


def test_next_layer_is_asked_through_the_addon_of_that_name() -> None:
    assert any(isinstance(a, NextLayer) for a in default_addons())
    assert addonmanager._get_name(NextLayer()) == "nextlayer"
    assert "if nextlayer.layer: return" in source(NextLayer.next_layer)


def test_hooks_are_triggered_as_the_index_does() -> None:
    assert "await self.trigger_event(hooks.UpdateHook([message]))" in source(addonmanager.AddonManager.handle_lifecycle)
    text = source(addonmanager.AddonManager.trigger_event)
    assert "for i in self.chain" in text
    assert "safecall()" in text
    assert "AddonHalt: return" in text
    assert "self.chain.append(" in source(addonmanager.AddonManager.add)
    assert "self.chain = [" in source(addonmanager.AddonManager.remove)
    assert "self.chain = []" in source(addonmanager.AddonManager.clear)


def test_scripts_carry_their_addons() -> None:
    assert isinstance(inspect.getattr_static(script.Script, "addons"), property)
    assert "invoke_addon_sync(self.ns, hooks.RunningHook())" in source(script.Script.loadscript)


def test_the_default_listener_is_bound_before_a_script_is_loaded() -> None:
    assert "[mode_specs.ProxyMode.parse(m) for m in ctx.options.mode]" in source(Proxyserver.setup_servers)
    assert "if self.is_running" in source(Proxyserver.configure)


def test_our_hooks_are_known_by_their_names() -> None:
    assert {"relay_attempt", "relay_settle"} <= set(hooks.all_hooks)
    assert commands.StartHook.blocking is True


def test_messages_are_checked_only_when_assertions_are_on() -> None:
    assert "if __debug__: def __post_init__(self): for field in fields(self)" in source(mitmproxy.http.MessageData)
    assert "typecheck.check_option_type(" in source(mitmproxy.http.MessageData.__post_init__)


def test_headers_are_nothing_but_their_fields() -> None:
    fields = ((b"Host", b"a"), (b"x", b"1"), (b"X", b"2"))
    assert vars(headers_of(fields)) == vars(mitmproxy.http.Headers(fields))
    assert headers_of(fields).get_all("x") == ["1", "2"]


def test_interim_answers_are_seen_before_mitmproxy_reads_them() -> None:
    """`connections.Http1` looks at the start of the buffer, and takes whole heads out of it."""
    buffer = _http1.ReceiveBuffer()
    buffer += b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 2"
    assert bytes(buffer._data[:12]) == b"HTTP/1.1 100"
    assert buffer.maybe_extract_lines()
    assert bytes(buffer._data) == b"HTTP/1.1 2"
    assert buffer.maybe_extract_lines() is None
    assert "self.buf.maybe_extract_lines()" in source(_http1.Http1Client.read_headers)
    assert "InformationalResponseReceived" in source(_http2.Http2Client.handle_h2_event)
    assert "self.request = http1.read_request_head" in source(_http1.Http1Server.read_headers)


def test_the_outermost_layer_is_asked_for_nothing_else() -> None:
    assert "self.layer.handle_event(event)" in source(server.ConnectionHandler.server_event)
    assert inspect.getsource(server).count("self.layer.") == 1
    text = source(server.ConnectionHandler)
    assert text.count("self.handle_connection(") == 2
    assert text.index("ClientConnectedHook(self.client)") < text.index("self.server_event(events.Start())")
    assert "data = await reader.read(65535)" in source(server.ConnectionHandler.handle_connection)


def test_frames_are_read_in_one_place() -> None:
    text = source(h2.connection.H2Connection.receive_data)
    assert "self._receive_frame(frame)" in text
    assert "self._terminate_connection(e.error_code)" in text
    assert "events = [e]" in source(_http2.Http2Connection._handle_event)


def test_a_reverse_proxy_hands_on_all_that_comes() -> None:
    assert "self._handle_event = self.child_layer.handle_event" in source(modes.DestinationKnown.finish_start)
    assert "self.child_layer = layer.NextLayer(self.context)" in source(modes.ReverseProxy._handle_event)
    assert "self._handle = self.layer.handle_event" in source(layer.NextLayer._ask)


def test_a_stream_is_held_by_its_states_and_its_place_among_the_layers() -> None:
    assert "self.client_state = self.state_uninitialized" in source(http.HttpStream.__init__)
    assert "self.context.layers.append(self)" in source(layer.Layer.__init__)
    assert "yield DropStream(self.stream_id)" in source(http.HttpStream.flow_done)


def test_a_stream_that_has_ended_is_forgotten_with_its_end() -> None:
    text = source(_http2.Http2Connection.handle_h2_event)
    assert "if self.is_closed(event.stream_id): self.streams.pop(event.stream_id, None)" in text


def test_contentviews_are_kept_by_their_name_in_lower_case() -> None:
    """`views.registry.remove` takes its own out of it, as mitmproxy has no method for that."""
    assert "self._by_name[name] = instance" in source(contentviews.ContentviewRegistry.register)
    assert "name = instance.name.lower()" in source(contentviews.ContentviewRegistry.register)
    assert "max_prio[0] < priority" in source(contentviews.ContentviewRegistry.get_view)


def test_listeners_take_connections_in_one_place() -> None:
    text = source(asyncio.selector_events.BaseSelectorEventLoop._accept_connection)
    assert "'message': 'socket.accept() out of system resource'" in text
    assert list(inspect.signature(asyncio.selector_events.BaseSelectorEventLoop._accept_connection).parameters)[
        1:6
    ] == [
        "protocol_factory",
        "sock",
        "sslcontext",
        "server",
        "backlog",
    ]
    assert "add_accept_handler( sock, self._handle_connection )" in source(tcpserver.TCPServer.add_sockets)


def test_a_connections_events_come_one_at_a_time_under_a_lock() -> None:
    """`Turnstile` takes the place of that lock, and does with asyncio's what it does itself."""
    assert "self._server_event_lock = asyncio.Lock()" in source(server.ConnectionHandler.__init__)
    assert "async with self._server_event_lock:" in source(server.ConnectionHandler.server_event)
    assert "if not self._waiters: return" in source(asyncio.Lock._wake_up_first)  # type: ignore[attr-defined]
    assert "not self._locked and (self._waiters is None or" in source(asyncio.Lock.acquire)
