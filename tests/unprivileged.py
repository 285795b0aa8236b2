"""`study.py database` without root's rights, which PostgreSQL refuses, also where only root may read this Python.

python -m tests.unprivileged --directory ...
"""

import encodings.idna  # noqa: F401 (what is imported later cannot be read any more)
import os
import pwd
import sys

from search.commands import database  # noqa: F401
from search.commands.group import main
from search.workers import listeners  # noqa: F401 (for errors)


def drop() -> None:
    user = pwd.getpwnam("nobody")
    os.setgroups([])
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)


if __name__ == "__main__":
    if os.geteuid() == 0:
        drop()
    sys.argv = ["study.py", "database", *sys.argv[1:]]
    main()
