"""archpress_trainer: architecture spaces, populations and the embeddings fitted on them."""

__version__ = "0.1.0"
