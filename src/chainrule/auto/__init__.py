"""solver="auto": what is tried for a table, how it is judged, and what becomes the answer.

In this order: the `task` (rows, labels, what is settled) -> `recipes` (ways to train) -> `trainer` (trains the networks, as
`jobs` of several threads, in the `pace` that time allows, on the columns of most `relevance`) -> `planning` (which recipes
are worth it) -> `learner` (cross-fits them; as `trials` they are judged, and get their shares).
"""
