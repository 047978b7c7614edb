"""Thick-slice scans as stacks: acquisition, alignment, fusion, data consistency."""
