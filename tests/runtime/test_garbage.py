"""How often a command's process looks for garbage."""

import gc
import weakref

from reft.runtime.garbage import NEW_OBJECTS, look_rarely


def test_cycles_are_looked_for_rarely_and_still_found():
    before = gc.get_threshold()
    try:
        look_rarely()
        assert gc.isenabled()
        assert gc.get_threshold() == (NEW_OBJECTS, *before[1:])

        class Node:
            pass

        node = Node()
        node.itself = node
        gone = weakref.ref(node)
        del node
        kept = [[] for _ in range(2 * NEW_OBJECTS)]  # so many that a look is due
        assert gone() is None
        del kept
    finally:
        gc.set_threshold(*before)
