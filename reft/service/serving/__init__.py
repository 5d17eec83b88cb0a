"""Chat: one thread that answers one request after another, with many adapters on one base, or a front for vLLM."""
