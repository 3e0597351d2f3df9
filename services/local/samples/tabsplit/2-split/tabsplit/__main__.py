"""python3 -m tabsplit BILL --people N"""

import argparse
from pathlib import Path

from tabsplit.bill import money, read_bill, total
from tabsplit.split import split


def main():
    parser = argparse.ArgumentParser(prog="tabsplit", description="Splits a bill among friends.")
    parser.add_argument("bill", type=Path)
    parser.add_argument("--people", type=int, default=2)
    given = parser.parse_args()
    cents = total(read_bill(given.bill.read_text(encoding="utf-8")))
    print(f"total    {money(cents):>8}")
    for number, share in enumerate(split(cents, given.people), start=1):
        print(f"friend {number} {money(share):>8}")


if __name__ == "__main__":
    main()
