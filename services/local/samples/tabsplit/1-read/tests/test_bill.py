"""Reading a bill."""

import unittest

from tabsplit.bill import BadLine, Item, money, read_bill, total


class ReadingABill(unittest.TestCase):
    def test_a_line_is_a_name_and_a_price(self):
        self.assertEqual(read_bill("Green tea  3.20\n"), [Item("Green tea", 320)])

    def test_a_comma_separates_cents_too(self):
        self.assertEqual(read_bill("Cake 4,05"), [Item("Cake", 405)])

    def test_comments_and_empty_lines_do_not_count(self):
        self.assertEqual(read_bill("# table 7\n\n"), [])

    def test_a_line_without_a_price_is_named(self):
        with self.assertRaisesRegex(BadLine, "line 2: 'Free hugs'"):
            read_bill("Cake 4.05\nFree hugs")

    def test_the_total_is_the_sum(self):
        self.assertEqual(total([Item("Tea", 320), Item("Cake", 405)]), 725)

    def test_money_has_two_digits_after_the_point(self):
        self.assertEqual(money(1205), "12.05")
