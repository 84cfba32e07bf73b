import numpy as np
import pytest

from planning.learned.ddpg_agent import DdpgAgent, DdpgSettings, Networks

SMALL = DdpgSettings(
    batch=32, actor_rate=1e-3, critic_rate=3e-3, stored=400, actor_layers=(16,), critic_layers=(16, 16)
)


def _learned(seed: int) -> DdpgAgent:
    """An agent that has learned an episode of one step: the reward is best at the action 0.5 x state."""
    rng = np.random.default_rng(seed)
    agent = DdpgAgent(1, 1, SMALL, rng)
    for _ in range(700):
        state = rng.uniform(-1, 1, 1).astype(np.float32)
        action = rng.uniform(-1, 1, 1).astype(np.float32)
        agent.store(state, action, 1 - float(action[0] - 0.5 * state[0]) ** 2, None)
        agent.learn()
    return agent


def test_the_actor_finds_the_best_action_of_every_state() -> None:
    agent = _learned(0)
    for state in (-0.8, 0.0, 0.8):
        assert agent.act(np.array([state], np.float32))[0] == pytest.approx(0.5 * state, abs=0.15)
    # An episode ends with its reward, which no next state adds to.
    value = agent.critic.run(np.array([[0.0, 0.0]], np.float32))[0, 0]
    assert value == pytest.approx(1, abs=0.1)
    assert (_learned(0).actor.values == agent.actor.values).all()


def test_networks_are_copies_with_which_another_agent_begins() -> None:
    rng = np.random.default_rng(0)
    agent = DdpgAgent(2, 1, SMALL, rng)
    kept, state = agent.networks(), np.zeros(2, np.float32)
    agent.store(state, np.zeros(1, np.float32), 0.0, state)
    agent.store(state, np.zeros(1, np.float32), 1.0, None)
    for _ in range(3):
        agent.learn()
    assert (kept.actor.values != agent.actor.values).any()
    begun = DdpgAgent(2, 1, SMALL, rng, kept)
    assert kept.critic is not None
    assert (begun.actor.values == kept.actor.values).all()
    assert (begun.critic.values == kept.critic.values).all()
    # Of a stored actor the critic is not known.
    alone = DdpgAgent(2, 1, SMALL, rng, Networks(kept.actor))
    assert (alone.actor.values == kept.actor.values).all()
    assert (alone.critic.values != kept.critic.values).any()
