"""What the tests share: servers on real sockets, and waiting for conditions."""
