"""SQL, one file per table; the rest of the code sees frozen records and nothing of the database.

SQLite before 3.51.3 can corrupt a WAL file that several processes write, and most Pythons ship an older one, so the
pinned `pysqlite3` takes the place of the standard module before aiosqlite is first imported.
"""

import sys

import pysqlite3
from pysqlite3 import dbapi2

sys.modules["sqlite3"] = pysqlite3
sys.modules["sqlite3.dbapi2"] = dbapi2
