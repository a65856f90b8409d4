"""The parts of an evaluation or cycle that fail each for itself."""

from enum import StrEnum


class Part(StrEnum):
    """Name the part in metrics and log. A closed list."""

    ALERTS = "alerts"
    ALERT_STORE = "alert_store"
    DELIVERY = "delivery"
    DELTA = "delta"
    DISK = "disk"
    HISTORY = "history"
    HOUSEKEEPING = "housekeeping"
    INSTALLATION = "installation"
    LEADER = "leader"
    LEADERLESS = "leaderless"
    METRICS = "metrics"
    PAUSE = "pause"
    PAUSE_LOG = "pause_log"
    PROGRESS = "progress"
    RATES = "rates"
    REQUESTS = "requests"
    RETENTION = "retention"
    RUN_LOG = "run_log"
    RECORDS = "records"
    RUNS = "runs"
    STATUS = "status"
    STATUS_FUNCTION = "status_function"
    TRIGGERS = "triggers"
    UNUSUAL = "unusual"
    VIEWS = "views"
    WAREHOUSE = "warehouse"
