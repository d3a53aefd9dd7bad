"""How Airflow's own processes connect to its database (`sql_alchemy_connect_args`); ours say it for themselves.

The processes that a LocalExecutor's scheduler forks have its connections too. Where the scheduler is killed in the
middle of a transaction they live on, PostgreSQL sees a client that is still there, and what the transaction had locked
stays locked: with the lock of the queue among it, no scheduler that is started later queues a task again.
"""

from __future__ import annotations

#: A scheduler that shows no life for 30 s counts as dead (`scheduler_health_check_threshold`); this is twice that.
IDLE_IN_TRANSACTION_S = 60

#: What psycopg2 is given for each connection: also, when a peer counts as gone whose network swallows packets.
CONNECT_ARGS = {
    "options": f"-c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_S}s",
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
