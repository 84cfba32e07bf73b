"""Packages that all services share: bus, messages, models and codecs. They import no package above them."""
