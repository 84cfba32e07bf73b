"""DDPG: an actor and a critic that learn from stored transitions (Lillicrap et al., arXiv 1509.02971)."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from planning.learned.dense_network import DenseNetwork, Floats, VectorAdam

# Hidden layers, published by DistrEdge in section V.
ACTOR_LAYERS: Final = (400, 200, 100)
CRITIC_LAYERS: Final = (400, 200, 100, 100)


@dataclass(frozen=True, slots=True)
class DdpgSettings:
    """Rates and sizes, with the values of DistrEdge where it has them.

    Attributes:
        batch: transitions per update, N_b.
        discount: gamma.
        actor_rate: learning rate of the actor.
        critic_rate: learning rate of the critic.
        target_rate: share by which target networks follow in an update; not published, that of DDPG is 0.001.
        stored: largest number of stored transitions; not published.
        actor_layers: hidden layers of the actor.
        critic_layers: hidden layers of the critic.
    """

    batch: int = 64
    discount: float = 0.99
    actor_rate: float = 1e-4
    critic_rate: float = 1e-3
    target_rate: float = 0.005
    stored: int = 100_000
    actor_layers: tuple[int, ...] = ACTOR_LAYERS
    critic_layers: tuple[int, ...] = CRITIC_LAYERS


@dataclass(frozen=True, slots=True, eq=False)
class Networks:
    """Networks of an agent; None for a critic that is not known."""

    actor: DenseNetwork
    critic: DenseNetwork | None = None


class DdpgAgent:
    """An actor and a critic with their target networks; actions are in [-1, 1].

    Attributes:
        actor: state -> action.
        critic: state and action -> value.
    """

    def __init__(
        self,
        states: int,
        actions: int,
        settings: DdpgSettings,
        rng: np.random.Generator,
        start: Networks | None = None,
    ) -> None:
        """Make networks for states and actions of these sizes; copies of ``start`` take the place of random ones."""
        self._settings, self._rng = settings, rng
        self.actor = DenseNetwork.fresh((states, *settings.actor_layers, actions), True, rng)
        self.critic = DenseNetwork.fresh((states + actions, *settings.critic_layers, 1), False, rng)
        if start is not None:
            self.actor = start.actor.copy()
            self.critic = start.critic.copy() if start.critic else self.critic
        self._target_actor, self._target_critic = self.actor.copy(), self.critic.copy()
        self._actor_steps = VectorAdam(self.actor.values, settings.actor_rate)
        self._critic_steps = VectorAdam(self.critic.values, settings.critic_rate)
        # Rows: state, action, reward, next state, 1 if there is one.
        self._memory = np.zeros((settings.stored, 2 * states + actions + 2), dtype=np.float32)
        self._count, self._states, self._actions = 0, states, actions

    def networks(self) -> Networks:
        """Return copies of the present networks."""
        return Networks(self.actor.copy(), self.critic.copy())

    def act(self, state: Floats) -> Floats:
        """Return the actor's action, [states] -> [actions]."""
        action: Floats = self.actor.run(state[None])[0]
        return action

    def store(self, state: Floats, action: Floats, reward: float, following: Floats | None) -> None:
        """Keep a transition; ``following`` is None at the end of an episode. The oldest one is overwritten."""
        row = self._memory[self._count % len(self._memory)]
        row[: self._states] = state
        row[self._states : self._states + self._actions] = action
        row[-2 - self._states] = reward
        row[-1 - self._states : -1] = 0 if following is None else following
        row[-1] = following is not None
        self._count += 1

    def learn(self) -> None:
        """Update critic and actor by a batch of stored transitions, and let the targets follow.

        The critic's target is the reward at the end of an episode, else reward + discount x the value of the target
        actor's next action. The actor climbs the critic's value.
        """
        settings, states = self._settings, self._states
        picked = self._rng.integers(min(self._count, len(self._memory)), size=settings.batch)
        rows = self._memory[picked]
        state, both = rows[:, :states], rows[:, : states + self._actions]
        reward, following, goes_on = rows[:, -2 - states], rows[:, -1 - states : -1], rows[:, -1]
        next_value = self._target_critic.run(np.hstack([following, self._target_actor.run(following)]))[:, 0]
        target = reward + np.float32(settings.discount) * goes_on * next_value
        steps = self.critic.trace(both)
        slopes = (2 / settings.batch) * (steps[-1] - target[:, None])
        self._critic_steps.step(self.critic.gradients(steps, slopes.astype(np.float32))[0])
        actions = self.actor.trace(state)
        valued = self.critic.trace(np.hstack([state, actions[-1]]))
        rising = np.full((settings.batch, 1), -1 / settings.batch, dtype=np.float32)
        by_action = self.critic.gradients(valued, rising, inputs_only=True)[1][:, states:]
        self._actor_steps.step(self.actor.gradients(actions, by_action)[0])
        for target_network, network in ((self._target_actor, self.actor), (self._target_critic, self.critic)):
            target_network.values += np.float32(settings.target_rate) * (network.values - target_network.values)
