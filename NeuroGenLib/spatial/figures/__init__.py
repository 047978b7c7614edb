"""Figures of volumes: planes through a head, radiological like Slicer's views, with letters and a scale bar."""
