"""The socket: who may connect, how bytes become requests, what each path answers."""
