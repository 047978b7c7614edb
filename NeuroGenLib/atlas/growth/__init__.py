"""How an atlas changes with age: tissue volumes and voxelwise maps."""
