"""The gRPC side: servicers, and the only code that knows messages and status codes."""
