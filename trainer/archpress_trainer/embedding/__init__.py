"""The embedding: codec, autoencoder, soft costs, accuracy heads, and their artifact."""
