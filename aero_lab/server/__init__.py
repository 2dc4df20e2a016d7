"""The proxy server: guests' tunnels over WebSocket, each with a LAN of its own. The names are in :mod:`.proxy`."""
