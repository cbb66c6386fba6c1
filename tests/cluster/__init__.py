"""Several nodes, and the servers between and beneath them: the real ones, on ports of 127.0.0.1."""
