"""What the server serves: a module for each family of endpoints, listed in :data:`aero_lab.server.routes.ROOMS`."""
