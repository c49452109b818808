"""Entry of the worker process: settings as JSON on standard input, job and attempt as flags."""

from __future__ import annotations

import argparse
import os
import sys

import structlog

from archpress_server.config import ServerConfig
from archpress_server.logs import configure_logs
from archpress_server.state import open_leases
from archpress_server.traces import enter_span, open_traces
from archpress_server.worker.checkpoints import JobCheckpoints
from archpress_server.worker.heart import EXIT_DONE, Heart, block_sigterm
from archpress_server.worker.observer import JobObserver
from archpress_server.worker.patience import patiently
from archpress_server.worker.phases import PhaseSpans

_FLUSH_SECONDS = 2.0
_LOAD_SECONDS = 600.0
"""For stores to come back that hold what an earlier attempt has done: hours of work, perhaps."""


def main() -> None:
    """Work on one attempt of one job."""
    block_sigterm()
    parser = argparse.ArgumentParser(prog="archpress_server.worker")
    parser.add_argument("--job", required=True)
    parser.add_argument("--attempt", type=int, required=True)
    arguments = parser.parse_args()
    # Standard input and not a flag: the database's URL may hold a password.
    config = ServerConfig.model_validate_json(sys.stdin.read())
    configure_logs(config.log_level, config.log_format)
    leases = open_leases(config)
    checkpoints = JobCheckpoints(
        leases.store,
        arguments.job,
        arguments.attempt,
        every_seconds=config.checkpoint_seconds,
        patience_seconds=_LOAD_SECONDS,
    )
    # Neither the server, which waits for so long, nor the lease must end first.
    last_seconds = min(config.drain_grace_seconds, config.lease_seconds) / 2
    heart = Heart(
        leases,
        arguments.job,
        arguments.attempt,
        heartbeat_seconds=config.heartbeat_seconds,
        cancel_grace_seconds=config.cancel_grace_seconds,
        before_giving_back=lambda: checkpoints.save_last(last_seconds),
    )
    heart.start()
    # After the heart, since what it imports takes seconds.
    from archpress_server.worker.run import run_attempt

    try:
        traces = open_traces(config.traces_url, "archpress-worker")
        facts = {"archpress.job": arguments.job, "archpress.attempt": arguments.attempt}
        parent = patiently(lambda: leases.store.traceparent(arguments.job), leases.lease_seconds)
        with traces.span("attempt", parent, facts) as span:
            enter_span(span)
            phases = PhaseSpans(traces, span)
            observer = JobObserver(
                leases, arguments.job, arguments.attempt, heart.stop, on_phase=phases.enter
            )
            record = run_attempt(
                leases, config, observer, checkpoints, arguments.job, arguments.attempt
            )
            heart.rest()
            phases.close()
            if record is not None and record.error is not None:
                span.fail(record.error.reason)
    except Exception:
        structlog.get_logger().exception("the attempt has no end")
        os._exit(1)
    traces.flush(_FLUSH_SECONDS)
    # At once: threads of numeric libraries can hang in an orderly exit.
    sys.stderr.flush()
    os._exit(EXIT_DONE)


if __name__ == "__main__":
    main()
