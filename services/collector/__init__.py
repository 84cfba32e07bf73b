"""The collector: stores results, traces, events and samples, and answers queries about them."""
