"""Reading an ONNX file that a stranger wrote: architecture and weights, nothing executed."""
