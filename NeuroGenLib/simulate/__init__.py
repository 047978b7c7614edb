"""Images as a scanner would make them, from images or label maps: what training needs and no scan shows."""
