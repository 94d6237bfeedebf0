"""What events do to messages: cases that the clients in all languages play."""

from __future__ import annotations

import copy
import json
import unittest
from pathlib import Path

from trunkline_client import Fate, Timeline

CASES = json.loads((Path(__file__).parents[2] / "cases/timeline.json").read_text())


class Cases(unittest.TestCase):
    def test_cases(self) -> None:
        self.assertGreater(len(CASES), 5)
        for case in CASES:
            with self.subTest(case["name"]):
                timeline = Timeline("u:alice:bob")
                for step, value in case["steps"]:
                    before = timeline.at(value["seq"]) if isinstance(value, dict) else None
                    kept = copy.deepcopy(before)
                    if step == "put":
                        timeline.put(value)
                    elif step == "expire":
                        timeline.expire(value)
                    else:
                        timeline.apply(step, value)
                    self.assertEqual(before, kept, "a message is never changed in place")
                self.assertEqual(timeline.messages, case["messages"])

    def test_marks_never_go_back_and_all_others_decide(self) -> None:
        timeline = Timeline("g:eng")
        timeline.mark("bob", read=3)
        timeline.mark("bob", delivered=2, read=1)
        timeline.mark("carol", delivered=3)
        self.assertEqual(timeline.fate(3, 3), Fate("delivered", 2, 1, 2))
        self.assertEqual(timeline.fate(4, 3).state, "sent")
        self.assertEqual(timeline.fate(3, 2).state, "read")
        for seq in range(1, 6):
            timeline.put({"seq": seq})
        timeline.keep(2)
        self.assertEqual([message["seq"] for message in timeline.messages], [4, 5])
        timeline.clear()
        self.assertEqual(timeline.fate(1).delivered, 0)


if __name__ == "__main__":
    unittest.main()
