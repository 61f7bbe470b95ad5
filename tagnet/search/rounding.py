"""When two cosine distances are a tie; for the compiled search, and for TensorFlow's."""

ROUNDING = 7  # decimals of a cosine distance; what differs less is a tie
SLACK = 2e-7  # two similarities farther apart than this are no tie
