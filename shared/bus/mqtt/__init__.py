"""MQTT 5 over one network connection: packets, the machine that reads them, and the client's side of the protocol."""
