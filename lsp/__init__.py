"""The language server: what an editor asks about a program, answered from the checker.

``positions`` to ``outline`` know programs and nothing of a protocol's transport; ``server`` is the only module that
needs pygls at run time.
"""
