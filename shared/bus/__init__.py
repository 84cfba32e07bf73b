"""The MQTT client, topics, wire format and feature-map transport."""
