"""Feature maps straight from executor to executor, without the broker.

Modules without I/O: `direct_messages` and `direct_decoder` have the bytes, `greetings` the first messages, and
`peer_table` decides when to connect to whom. `direct_channel` moves bytes over one connection, `shared_arena` holds
frames for processes of one machine, `direct_tls` and `socket_folder` keep strangers out. `direct_listener` accepts
connections, `direct_dialer` makes them, `direct_transport` keeps those of a device, and `transport_switch` chooses
between them and the broker.
"""
