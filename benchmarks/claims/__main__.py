"""Comparison of published claims with the results of this project.

python -m benchmarks.claims [--paper NAME...] [--out FILE]
"""

import argparse
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from rich.table import Table

from benchmarks.claims import duan_wu_claims, hou_claims, hu_mishra_claims, kafetzis_claims, masud_claims
from benchmarks.claims.claim import Claims
from benchmarks.report import RESULTS, console, write

PAPERS: Mapping[str, Claims] = {
    "hu_mishra": hu_mishra_claims.claims,
    "masud": masud_claims.claims,
    "kafetzis": kafetzis_claims.claims,
    "duan_wu": duan_wu_claims.claims,
    "hou": hou_claims.claims,
}


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--paper", nargs="*", choices=PAPERS, default=list(PAPERS), help="only these")
    parser.add_argument("--out", type=Path, default=RESULTS / "claims.json")
    arguments = parser.parse_args()
    claims = [claim for paper in arguments.paper for claim in PAPERS[paper]()]
    table = Table("where", "what it says", "published", "computed here", "set-up here", "holds", show_lines=True)
    for claim in claims:
        verdict = "yes" if claim.holds else "no"
        table.add_row(claim.source, claim.claim, claim.published, claim.seen, claim.setup, verdict)
    console().print(table)
    easier = sum(claim.holds and claim.setup.startswith("easier") for claim in claims)
    holding = sum(claim.holds for claim in claims)
    headline = f"{holding} of {len(claims)} published claims hold, {easier} of them in an easier set-up"
    console().print(headline)
    write(arguments.out, {"headline": headline, "claims": [asdict(claim) for claim in claims]})


if __name__ == "__main__":
    main()
