"""Reported from table 7: three friends paid 39.99 for a bill of 40.00."""

import unittest

from tabsplit.split import split


class Shares(unittest.TestCase):
    def test_the_shares_add_up_to_the_bill(self):
        for people in range(1, 12):
            self.assertEqual(sum(split(4000, people)), 4000, f"for {people} friends")

    def test_nobody_pays_over_a_cent_more_than_the_others(self):
        for people in range(1, 12):
            shares = split(4000, people)
            self.assertLessEqual(max(shares) - min(shares), 1)
