"""What is measured: errors in space, in angle and in the picture; many hypotheses; scores; and how sure it is.

Inputs are metres, radians and pixels of one person after the other; outputs are millimetres, degrees and
shares. Sums run in float64. A point that the truth doesn't know is NaN, and is left out of its person's mean;
who is judged at all is decided in ``core/truth/evaluate.py``.
"""
