"""Operations of requests, the queues of devices, and when jobs end."""
