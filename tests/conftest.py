"""One thread each: most models here are tiny, and threads that wait for each other are slow.

No deadlines for hypothesis: on a loaded machine they say nothing about the code.
"""

import os

from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
settings.register_profile("project", deadline=None)
settings.load_profile("project")
