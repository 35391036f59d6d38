"""How long tests wait for what has to happen. Only a test that fails waits so long: on a busy machine anything may take a while.

What a test is about, a vendor's deadline say, has its own number in that test.
"""

from typing import Final

PATIENCE_S: Final = 60.0
