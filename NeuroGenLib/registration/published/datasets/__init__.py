"""The data sets that the published registration program is trained on, one file each, as their authors lay them out."""
