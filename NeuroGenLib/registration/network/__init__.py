"""Architecture of the registration network."""
