"""archpress_server: the gRPC service around descent, decode, retrain and export."""

__version__ = "0.1.0"
