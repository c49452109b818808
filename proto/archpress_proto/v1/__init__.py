"""Version 1 of the archpress API: messages in `*_pb2`, services in `*_pb2_grpc`.

The `.proto` files beside the stubs are the reference. Make the stubs anew with
`make stubs` after changing one.
"""
