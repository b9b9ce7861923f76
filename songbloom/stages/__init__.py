"""From songs to a training set: one module a stage, and the chain that runs them."""
