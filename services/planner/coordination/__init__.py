"""Coordination of the streams: events, the owners of the state that they change, epochs, and stored documents.

Each event goes to the owner of the state that it changes:

- `FleetState`: devices, links, models.
- One `PlannedStream`: declaration, policy, epochs, plan in force.
- `PlannedStreams`: due times, rejected choices, awaited answers.

The owners return effects, which the service performs in order. "Plan x" below means that x becomes due. `next_job` then
returns its problem, unless that problem has been solved before.

    event                    state change                                effects
    -----------------------  ------------------------------------------  ---------------------------------------------
    Presence online          device online, not ready for a proposal if  event DEVICE_BACK; Release to a holder; Prepare
                             it was restarted; plan all                  again to a device that a proposal waits for
    Presence offline         device offline; proposals that need it end, event DEVICE_LOST
                             and those in groups of its users; plan all
    Telemetry                load; plan all                              -
    Links                    bandwidths and latencies; plan all          -
    Profile                  computing times; plan all                   -
    StreamUsage              rate and size of requests; plan all         -
    Preparing                device owes no answer                       -
    Ready                    device is ready; with the last one, the     Persist plan; plan; event REROUTE; Release of
                             proposal is in force; plan all              earlier epochs to every holder
    Rejected                 choice excluded for a while; the proposal   event REJECTION
                             and those of its group end; plan them
    ProfileFailed            first plans do not wait for it; plan all    event FAILURE
    Manifest                 model known; plan all                       - (none at all for a model of the library)
    ModelWithdrawn           model gone; plan all                        DeleteDocument if it was in the library
    Offer                    -                                           FetchModel
    Calibration              encodings; old shadow records void; plan    DeleteDocument of the records; Persist
                             all                                         calibration
    ShadowReport             shadow record; plan streams that lose an    Persist records that are due; event
                             encoding                                    CODEC_WITHDRAWN
    StreamDeclaration        declared; proposal ends; plan all           Persist declaration
      with an empty model    state starts again above its last epoch;    DeleteDocument of stream, policy and plan; its
                             plan all                                    topics cleared; Release to every holder
    PolicyDocument           waits to be judged; plan it                 -
      that is unsound        refused; plan it                            policy in force; event POLICY_REFUSED
      that is empty          default policy; proposal ends; plan all     DeleteDocument of the policy
    CommittedPlan            if its epoch is new: in force, or during a  Persist epoch; Persist plan if it is in force
                             proposal only its epoch counts; plan it
    Question                 -                                           Explanation
    model_stored             model in the library; plan all              Persist manifest; manifest
    next_job                 no longer due; what is missing is noted;    as answered
                             a kept answer counts as answered
    answered, for a policy   accepted: in force, answer kept, proposal   Persist policy; event POLICY_ACCEPTED; or those
                             ends, plan all; or refused: plan it         of an unsound policy
    answered                 plan kept, or reroute postponed, or         event INFEASIBLE if constraints are newly
                             proposed under the next epoch; if out of    broken; Persist epoch and Prepare if proposed
                             date: plan again
    failed                   reason noted; plan it after a pause. A      event FAILURE
                             policy that was judged is refused
    thresholds_found         thresholds noted                            Prepare of warm segments; thresholds
    tick                     proposals, answers owed, exclusions time    Prepare again; event REJECTION; presence and
                             out; every 5 s: plan all                    event of a silent device; ProfileModel; Persist
                                                                         shadow records

After each event, statuses that have changed are published.
"""
