"""Franka arms: the FR3 through pylibfranka, the older Panda/FER through panda-python.

The vendor's client holds the interpreter's lock while it waits, waits without time-outs and changes
the scheduling class: it lives in the executor and nowhere else, and is only called when the answer
is there already. What it cannot do so (recover, ask for the model) is done over the wire by
`errand`.
"""
