"""The archpress API as protocol buffers; the stubs are in `archpress_proto.v1`."""
