"""Results of the capabilities as Slicer scenes."""
