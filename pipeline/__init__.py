"""See docs/architecture.md."""

import os

# numpy's matrices are small here, and OpenBLAS' threads wait for each other by spinning: publishing on a busy 2-core
# machine took 10 s of CPU time in place of 4.4. torch computes with threads of its own.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
