"""Coordination of the streams: events, the owners of the state that they change, epochs, and stored documents.

Each event goes to the owner of the state that it changes:

- `FleetState`: devices, links, models.
- One `PlannedStream`: declaration, policy, epochs, plan in force.
- `PlannedStreams`: due times, rejected choices, awaited answers.

The owners return effects, which the service performs in order. "Plan x" below means that x becomes due. `next_job` then
returns its problem, unless that problem has been solved before.

    event                    state change                                effects
    -----------------------  ------------------------------------------  ---------------------------------------------
    Presence online          device online; not ready for a proposal if  event DEVICE_BACK; Release to a holder;
                             it was restarted; plan all                  Prepare again to a device that a proposal
                                                                         waits for
    Presence offline         device offline; proposals that contain it   event DEVICE_LOST
                             end, and those in the group of a stream
                             whose plan uses it; plan all
    Telemetry                load; plan all                              -
    Links                    bandwidths and latencies; plan all          -
    Profile                  computing times; plan all                   -
    StreamUsage              if figures are new: rate and size of        -
                             requests; plan all. Latencies are kept. If
                             they show that the last reroute made it
                             worse: costs corrected; plan it
    Preparing                the planner no longer waits for the         -
                             device's answer
    Ready                    device ready; with the last one, the        Persist the plan; publish it; event REROUTE;
                             proposal comes into force; plan all         Release of earlier epochs to every holder
    Rejected                 if it is for the proposed epoch: the        event REJECTION
                             device is left out of plans for this
                             stream for 120 s (if memory was the cause:
                             segments that need at least as much); the
                             proposal and those of its group end; plan
                             them
    ProfileFailed            a first plan no longer waits for this       event FAILURE
                             profile; plan all
    Manifest                 model known; plan all. Ignored if the       -
                             library has the model
    ModelWithdrawn           model gone with its versions; plan all      DeleteDocument of the manifest and of the
                                                                 versions if it was in the library
    ModelVersion             version known if the planner published      Persist it; publish the right one, or clear
                             it and has lost it                          the topic, if it is of another client
    VersionWithdrawn         version gone unless it is in use            DeleteDocument; clear or publish its topic
    Offer                    -                                           FetchModel
    Calibration              encodings; older shadow records are void;   DeleteDocument of the records; Persist the
                             plan all                                    calibration
    ShadowReport             shadow record; plan streams that lose an    Persist records that are due; event
                             encoding                                    CODEC_WITHDRAWN
    StreamDeclaration        declared; proposal ends; plan all           Persist the declaration
      with an empty model    its state is dropped except for the last    DeleteDocument of stream, policy and plan;
                             epoch number; plan all                      clear its topics; Release to every holder
    PolicyDocument           waits to be judged; plan it                 -
      that is unsound        refused; plan it                            publish the policy in force; event
                                                                         POLICY_REFUSED
      that is empty          default policy; proposal ends; plan all     DeleteDocument of the policy
    CommittedPlan            newer epoch: the plan comes into force;     Persist the epoch; Persist the plan if it is
                             plan it. During a proposal only the number  in force
                             is remembered
    Question                 -                                           publish the Explanation
    model_stored             model and version in the library; the       Persist both; publish both; DeleteDocument of
                             oldest versions beyond 16 go; plan all      old versions
    next_job                 the stream is no longer due; missing        as answered
                             inputs go into its status, and its policy
                             is accepted unjudged; a problem solved
                             before is answered from memory
    answered, for a policy   accepted: in force, answer kept, proposal   Persist the policy; event POLICY_ACCEPTED; or
                             ends, plan all. Or refused: plan it         as for an unsound policy
    answered                 plan kept, or reroute postponed, or         event INFEASIBLE if constraints are newly
                             proposed under the next epoch; if out of    broken; Persist the epoch and Prepare if
                             date: plan again                            proposed
    failed                   reason in the status; plan it after a       event FAILURE
                             pause. A policy that was judged is refused
    thresholds_found         thresholds known                            Prepare of warm segments; publish the
                                                                         thresholds
    tick                     proposals, awaited answers and exclusions   Prepare again; event REJECTION; publish a
                             time out; every 5 s: plan all               silent device as offline, event DEVICE_LOST;
                                                                         ProfileModel; Persist shadow records

After each event, statuses that have changed are published.
"""
