"""The outcome log: what was decided for each request and what came of it, in an SQLite file to learn from."""

from asyncrouter.telemetry.outcomes.observer import OutcomeLog
from asyncrouter.telemetry.outcomes.reader import lost_rows, read_calls, record_feedback
from asyncrouter.telemetry.outcomes.records import LoggedAttempt, LoggedCall

__all__ = ["LoggedAttempt", "LoggedCall", "OutcomeLog", "lost_rows", "read_calls", "record_feedback"]
