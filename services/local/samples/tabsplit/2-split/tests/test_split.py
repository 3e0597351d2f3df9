"""Splitting a bill."""

import unittest

from tabsplit.split import split


class Splitting(unittest.TestCase):
    def test_what_can_be_divided_is_divided_equally(self):
        self.assertEqual(split(4000, 4), [1000, 1000, 1000, 1000])

    def test_one_person_pays_it_all(self):
        self.assertEqual(split(1999, 1), [1999])

    def test_nobody_cannot_pay(self):
        with self.assertRaises(ValueError):
            split(1000, 0)
