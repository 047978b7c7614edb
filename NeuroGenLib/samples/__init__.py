"""Sample data: heads that a bundled model draws, and public records that are downloaded."""

from NeuroGenLib.samples.fetch import Fetched, Offer, fetch_sample, sample_offer
from NeuroGenLib.samples.registry import Sample, find_sample, list_samples, samples_folder

__all__ = [
    "Fetched",
    "Offer",
    "Sample",
    "fetch_sample",
    "find_sample",
    "list_samples",
    "sample_offer",
    "samples_folder",
]
