"""What is imported so far stays: nobody looks for garbage in it.

Tracing makes many objects; with the usual thresholds every tenth second goes
into such looks at millions of objects that stay.
"""

import gc

gc.collect()
gc.freeze()
gc.set_threshold(50_000, 20, 50)
