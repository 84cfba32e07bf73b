"""Streams that begin on this device: intake, journal, state machine of requests, and route switching.

    RequestArrived: Accept           Dispatch                     OutcomeSeen: StoreOutcome
    ------------------------> WAITING --------> IN_FLIGHT ----------------------------------> FINISHED
                               |    <--------       |                                         |     |
                               |   ReportRetry      | retries exhausted: Fail                 |     | RetryTick:
                               |                    `---------------------------------------->|     | DeleteOutcomes
                               `-- withdrawn, superseded, past its deadline, no route: Fail ->|     v
                                                                                              | (forgotten)
                                                      Republish until a collector confirms it |

What an event does to a request, by the request's phase (an empty cell: nothing):

    Event              | unknown or forgotten | WAITING              | IN_FLIGHT              | FINISHED
    -------------------|----------------------|----------------------|------------------------|-------------------------
    RequestArrived     | Accept -> WAITING    | Acknowledge          | Acknowledge            | Republish; Acknowledge
      with a fault     | Accept, Fail         | Acknowledge          | Acknowledge            | Republish; Acknowledge
    JournalRestored    | WAITING or FINISHED  |                      |                        |
    PlanCommitted      |                      | Fail all but newest* |                        |
    PlanRevoked        |                      | waits for a plan     |                        |
    StreamWithdrawn    |                      | Fail                 |                        |
    OutputsArriving    |                      |                      | timeout begins again   |
    OutcomeSeen        |                      | StoreOutcome         | StoreOutcome           |
    OutcomesPublished  |                      |                      |                        | NotePublished
    Undispatchable     |                      | Fail                 | Fail                   |
    AttemptRefused     |                      |                      | retry, newest attempt  |
    DeviceSeen, lost   |                      |                      | retry, if on its route |
    BusChanged, online |                      | wait begins again**  | timeout begins again** |
    TimeSkipped        |                      | wait begins again    | timeout begins again   |
    RetryTick          |                      | Fail after 300 s     | retry after timeout    | Republish; Delete
    Confirmed          |                      |                      |                        | Confirm, the first time
    CollectorsChanged  |                      |                      |                        | Republish on or off

Fail and StoreOutcome lead to FINISHED. "lost" is offline or restarted. "retry" is ReportRetry -> WAITING, at the head
of the queue, or Fail if the attempts are used up. After most events waiting requests are dispatched (`_pump`). That
needs a plan, a usable route, a connection to the broker, and less than `max_in_flight` requests in flight.
AlternativesKnown and Observed change the routes of later attempts only. "Delete" is DeleteOutcomes.

*  Of a live stream, requests that were never dispatched fail except for the newest one. Retries stay.
** The attempts so far do not count any more: they may have failed because the broker was away.
"""
