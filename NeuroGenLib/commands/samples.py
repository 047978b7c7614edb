"""The commands about sample data: `neurogen samples ...`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from NeuroGenLib.commands.options import add_json_option, add_report_options, make_parser, make_progress, print_json
from NeuroGenLib.commands.shared import print_written
from NeuroGenLib.core.provenance import RESEARCH_USE
from NeuroGenLib.samples.fetch import fetch_sample, sample_offer
from NeuroGenLib.samples.registry import list_samples
from NeuroGenLib.samples.zenodo import ZENODO_API

if TYPE_CHECKING:
    from NeuroGenLib.samples.fetch import Offer
    from NeuroGenLib.samples.registry import Sample

_HOW = {"drawn": "drawn here", "zenodo": "download", "hub": "download"}


def list_(arguments: list[str]) -> None:
    """`neurogen samples list`."""
    parser = make_parser(
        "samples list",
        "List the sample data: heads that the bundled atlas draws, and public data that are downloaded.",
        ("neurogen samples list", "neurogen samples list --json"),
    )
    add_json_option(parser)
    options = parser.parse(arguments)

    samples = list_samples()
    if options.json:
        print_json({"samples": [_facts(sample) for sample in samples]})
        return
    width = max(len(sample.name) for sample in samples)
    for sample in samples:
        print(f"{sample.name.ljust(width)}  {sample.title} ({_HOW[sample.kind]}). {sample.description}")


def info(arguments: list[str]) -> None:
    """`neurogen samples info`."""
    parser = make_parser(
        "samples info",
        "Show title, licence, authors and size of sample data. Of data to download, this asks their server.",
        (
            "neurogen samples info fetal-brain-30w",
            "neurogen samples info baby-ai-demo",
            "neurogen samples info cinema-atlases --json",
        ),
    )
    parser.add_argument("name", metavar="NAME", help="the sample, see 'neurogen samples list'")
    add_json_option(parser)
    options = parser.parse(arguments)

    offer = sample_offer(options.name, ZENODO_API)
    if options.json:
        print_json(_offered(offer))
        return
    _print_offer(offer)
    for name in offer.files:
        print(f"  {name}")


def get(arguments: list[str]) -> None:
    """`neurogen samples get`."""
    parser = make_parser(
        "samples get",
        "Bring sample data into a folder. Heads are drawn by the bundled atlas, without network. Public data are\n"
        "downloaded once their licence is accepted; a download that was interrupted goes on where it was.",
        (
            "neurogen samples get fetal-brain-30w --out sample",
            "neurogen samples get fetal-brain-thick --out scan",
            "neurogen samples get cinema-atlases --out cinema",
            "neurogen samples get baby-ai-demo --out infant",
        ),
    )
    parser.add_argument("name", metavar="NAME", help="the sample, see 'neurogen samples list'")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to write into")
    parser.add_argument(
        "--accept-licence", metavar="ID", help="the licence of data to download, which you have read and accept"
    )
    add_report_options(parser)
    options = parser.parse(arguments)

    started = time.monotonic()
    progress = make_progress(options.progress)
    fetched = fetch_sample(options.name, options.out, progress, accept_licence=options.accept_licence, api=ZENODO_API)
    progress.close()
    if options.json:
        more = {"sample": fetched.sample.name, "next": fetched.next}
        print_written(fetched.folder, fetched.files, started, warnings=fetched.warnings, notice=fetched.notice, **more)
        return
    for text in fetched.warnings:
        print(f"Note: {text}")
    print(f"{fetched.sample.title}, in {fetched.folder}:")
    for file in fetched.files:
        print(f"  {file.relative_to(fetched.folder)}")
    if fetched.next:
        print(fetched.next)
    print(f"{fetched.notice} {RESEARCH_USE}".strip())


def _facts(sample: Sample) -> dict[str, Any]:
    return {
        "name": sample.name,
        "kind": sample.kind,
        "title": sample.title,
        "description": sample.description,
        "licence": sample.licence,
    }


def _offered(offer: Offer) -> dict[str, Any]:
    return {
        "name": offer.name,
        "title": offer.title,
        "licence": offer.licence,
        "creators": list(offer.creators),
        "page": offer.page,
        "size": offer.size,
        "size_text": offer.size_text,
        "files": list(offer.files),
        "needs_acceptance": offer.needs_acceptance,
    }


def _print_offer(offer: Offer) -> None:
    print(f"title     {offer.title}")
    print(f"licence   {offer.licence}" + (f", see {offer.page}" if offer.page else ""))
    if offer.creators:
        print(f"by        {'; '.join(offer.creators)}")
    print(f"download  {offer.size_text}, {len(offer.files)} files" if offer.files else "download  nothing, drawn here")
