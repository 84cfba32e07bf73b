"""MQTT 5 brokers as child processes: the embedded one and mosquitto."""
