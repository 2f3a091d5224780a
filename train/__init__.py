"""Training: make a checkpoint fit a profile, with that profile's form active at every step."""
