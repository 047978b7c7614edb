"""What atlas training reads: subjects, points, augmentation."""
