"""torch and transformers, imported with Python's garbage collector at rest.

They make half a million objects that live as long as the process. The collector would look through
them again and again while they are made, and once more when the process ends: two of the five
seconds that a short job takes in all. A script that runs a model imports this module first.
"""

import gc

_collects = gc.isenabled()
gc.disable()
try:
    import torch  # noqa: F401
    import transformers.generation
    import transformers.modeling_utils
    import transformers.models.auto.modeling_auto  # noqa: F401
finally:
    if _collects:
        gc.enable()
gc.freeze()  # what is there by now is never looked through again
