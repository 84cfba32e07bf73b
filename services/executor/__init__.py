"""Executor service: runs segments of models on a device, passes feature maps on, and owns the streams that begin there.

Layers, each importing only those below it:

    service, announcer     opens connections, builds the parts, leaves in order
    control_handler        messages of planner, monitors, collectors and other devices
    source                 streams that begin here: intake, journal, request states, switching
    inbox                  feature maps of other devices
    lane_runner,           small feature maps of other devices, without a task per message
    lane_receiver
    pipeline               admit, compute, send on or publish
    row_inputs             inputs of tiles, and of segments behind tiles, from rows of several devices
    stage_runner, sender,  computing of a stage; sending of a feature map, of a small one
    lane_sender
    feature_maps, results, transfers
    segments               models: segments, compute thread, codecs, profiles
    observations, outbox   outgoing messages

Every queue has a bound. When it is full its caller waits, so backpressure reaches the broker and the applications.

    Queue                     Bound                   When full                    Drained by
    ------------------------  ----------------------  ---------------------------  -------------------------------
    StreamSource._arriving    64 requests             the intake stops reading     StreamSource._handle_events
    SourceState (waiting)     256, 256 MiB            the intake stops reading;    dispatch, in the order of arrival
                              (`SourceLimits`)        a live stream drops old ones
    StreamSource._events      1,024 events            the caller waits             StreamSource._handle_events
    Admission                 64, 512 MiB             inbox and dispatch wait      Pipeline, one task per request
                              (`ExecutorConfig`)
    InputAssembler            by Admission; 30 s      rows of a new input wait     LaneReceiver, with the last rows
    RowInputs                 like Admission, with    the youngest input is given  Pipeline, with the last rows
                              one of its own; 30 s    up, its source tries again
    ComputeQueue              by Admission            -                            Processor, the compute thread
    Sender._queue             16 feature maps         the stage's task waits       Sender.run
    Outbox._queue             1,024 messages          the caller waits             Outbox.run, four tasks
    SegmentPool._builds       256 segments            the caller waits             SegmentPool.run
    ProfilePublisher._orders  256 models              the control handler waits    ProfilePublisher.run
    ShadowCheck._queue        1 feature map           no check                     ShadowCheck.run

At shutdown the queues of requests are drained in the direction of the flow: `Sources.pause`, `Pipeline.drain`
(admission and sender), `Outbox.drain`. The other queues are cancelled, and their work is repeated after a restart.
"""
