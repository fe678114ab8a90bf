"""One thread each: the models of most tests are tiny, and threads that wait for each other on a busy
machine make them many times slower."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
