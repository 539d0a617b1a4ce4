"""Processes and sockets: what is around the loop, and never a client's bytes."""
