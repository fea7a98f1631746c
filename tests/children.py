"""Forks of the process that runs the tests, to be killed at any moment without harm to that process."""

import os
import threading
import traceback
import warnings
from typing import Callable

import torch
from allennlp.common.tqdm import Tqdm


def fork(work: Callable[[], bool]) -> int:
    """
    A child's process id. It does `work` in one thread and ends with status 0 if that returned true, 2 if false, and
    1, its traceback on standard error, if it raised.
    """
    with warnings.catch_warnings():
        # Python warns that the other threads of this process, such as pytest-xdist's, are not in the child.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        status = 1
        try:
            # tqdm shares a lock between processes. A child that is killed while it holds it would leave it locked, and
            # every progress bar that is made later, here or in another child, would wait for ever.
            Tqdm.set_lock(threading.RLock())
            torch.set_num_threads(1)
            status = 0 if work() else 2
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return child


def ended(child: int) -> bool:
    """Whether `child` has ended; its status is left for `os.waitpid`."""
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
