"""How often Python looks for unreachable objects in cycles."""

import gc

# Libraries make millions of objects while they are imported, all of which stay: with Python's own 700 new objects
# between two looks, an eighth to a fifth of a run's imports goes into looking at them (`import reft_pipeline` and what
# its steps load: 24.1 to 21.3 and 28.9 to 22.3 s of CPU time, two pairs side by side).
NEW_OBJECTS = 200_000


def look_rarely() -> None:
    """For a command's own process, before it imports what is large: stages free their models by themselves."""
    gc.set_threshold(NEW_OBJECTS, *gc.get_threshold()[1:])
