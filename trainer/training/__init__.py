"""Training a network from scratch, with or without a teacher."""
