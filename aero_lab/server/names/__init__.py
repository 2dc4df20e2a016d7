"""Names over HTTP: reading questions, asking upstreams or a world, remembering answers."""
