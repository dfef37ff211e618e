"""`tandem doctor`: what of this machine, this installation and this robot would hurt, and the cure.

Facts are gathered in one place, each with its own small reader; a check is a pure function from
facts to a `Finding`, so every sickness can be tested without having it.
"""
