"""What carries messages between the two halves of the lab. Here, and above, sockets and descriptors are allowed."""
