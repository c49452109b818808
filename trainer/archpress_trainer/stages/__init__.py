"""The stages of a build after the labels: the autoencoder, the embedding."""
