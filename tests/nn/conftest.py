"""One thread per test process: workers share the cores, and threads that wait for one another are slower than none."""

import torch

torch.set_num_threads(1)
