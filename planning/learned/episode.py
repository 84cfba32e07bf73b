"""Episodes of the learned partitioner: the state after every block, the allowed devices and the costs."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from planning.learned.arena import Arena
from planning.search.arrays import Array, Flags, Index

# Numbers of blocks ahead for which the state shows work and transfers.
LOOK_AHEAD: Final = (1, 2, 3, 4, 6, 8)

FIXED: Final = 6 + len(LOOK_AHEAD)
TIMES: Final = 1 + len(LOOK_AHEAD) + 8
# Features per device: those that are fixed during an episode, times so far and to come, and others.
FEATURES: Final = FIXED + TIMES + 5

# Time, in units, of an impossible computation or transfer.
_FAR: Final = 2000.0

# Time, in units, beyond which times count by their logarithm.
_NEAR: Final = 0.05


class Views:
    """The features that are fixed during an episode, for every block of every instance of an arena.

    Attributes:
        fixed: [M, B, N, FIXED] first of the model: share of the blocks left, and their time if all devices share it.
            Then the block's part of that time (in place of FLOPs), and the size of the cut before it. Then of the
            device: its utilisation, and the quickest transfer from it after each of the next blocks.
        rest: [M, B, N] time of all blocks from here on.
        work: [M, B, N, 1 + len(LOOK_AHEAD)] time of the next blocks, and of all.
        rest_parameters: [M, B] bytes of weights from here on.
    """

    def __init__(self, arena: Arena) -> None:
        """Prepare the views of ``arena``; O(M B N (N + len(LOOK_AHEAD)))."""
        count, most, nodes = arena.run.shape
        steps, rows = np.arange(most), np.arange(count)
        played = steps < arena.blocks[:, None]
        run = np.where(played[:, :, None], np.minimum(arena.run, _FAR), 0.0)
        total = np.concatenate([np.zeros((count, 1, nodes)), run.cumsum(axis=1)], axis=1)
        rate = (1 / np.maximum(arena.run, 1e-9)).sum(axis=2)
        shared = np.where(played, 1 / np.maximum(rate, 1 / _FAR), 0.0)
        # The quickest transfer to any other device; to itself it would always be 0.
        others = np.where(np.eye(nodes, dtype=np.bool_), np.inf, arena.move)
        leave = np.minimum(others.min(axis=3), _FAR)
        end = np.where(arena.sink[:, None] >= 0, arena.move[rows, arena.blocks, :, arena.sink], 0.0)
        leave[rows, arena.blocks] = np.minimum(end, _FAR)
        # Beyond the last block, look-ahead stays at the end of the model.
        cuts = np.minimum(steps[:, None] + np.array([*LOOK_AHEAD, most]), arena.blocks[:, None, None])
        self.rest: Array = total[rows, arena.blocks][:, None] - total[:, :-1]
        self.work: Array = total[rows[:, None, None], cuts].swapaxes(2, 3) - total[:, :-1, :, None]
        left = arena.blocks[:, None] - steps
        context = (
            left / arena.blocks[:, None],
            1 / np.maximum(left, 1),
            _seen(shared[:, ::-1].cumsum(axis=1)[:, ::-1]),
            shared,
            arena.size[:, :-1],
        )
        self.fixed = np.empty((count, most, nodes, FIXED), dtype=np.float32)
        self.fixed[..., :5] = np.stack(context, axis=2)[:, :, None]
        self.fixed[..., 5] = arena.utilisation[:, None]
        self.fixed[..., 6:] = _seen(leave[rows[:, None, None], cuts[:, :, :-1]]).swapaxes(2, 3)
        self.rest_parameters: Array = arena.parameters[:, ::-1].cumsum(axis=1)[:, ::-1]


class Episodes:
    """E parallel episodes that place the same block at the same step; the first block runs at the source.

    Only `step` changes the arrays. Episodes that are not alive keep theirs.

    Attributes:
        allowed: [E, N] devices that may run the next block. The block must fit into the memory and the device into the
            policy's number of devices. The route must not have left the device before. Devices and links must exist for
            the remaining blocks.
        here: [E] the device of the previous block.
        alive: [E] whether the episode continues; False at its end and in a dead end.
        done: [E] whether all blocks have a device.
        placed: [E] number of blocks with a device.
    """

    def __init__(self, arena: Arena, views: Views, instances: Index) -> None:
        """Start an episode of each of ``instances`` [E], with the first block at a source that can run it."""
        self._arena, self._views, self._of = arena, views, instances
        count, nodes = len(instances), arena.start.shape[1]
        self._rows, self._nodes, self._block = np.arange(count), np.arange(nodes), 0
        self._computing, self._sending = arena.computing[instances], arena.sending[instances]
        self._parameters, self._working = arena.held_parameters[instances], arena.held_working[instances]
        self._room, self._most = arena.room[instances], arena.most_devices[instances]
        self._left = np.zeros((count, nodes), dtype=np.bool_)
        self._used = np.ones(count, dtype=np.int64)
        self.here = arena.source[instances]
        self.placed = np.zeros(count, dtype=np.int64)
        self.alive, self.done = np.ones(count, dtype=np.bool_), np.zeros(count, dtype=np.bool_)
        self._look()
        self.alive &= self.allowed[self._rows, self.here]
        # A policy of a single device needs a source that can run the whole model.
        self.alive &= arena.alone[instances, 0, self.here] | (self._most > 1)
        self._computing[self._rows, self.here] += arena.start[instances, self.here]
        self._place()

    def state(self) -> NDArray[np.float32]:
        """Return [E, N, FEATURES]: the features of every device before the next block is placed."""
        arena, views, of, block, allowed = self._arena, self._views, self._of, self._block, self.allowed
        away = ~self._stays
        computing, rows = self._computing, self._rows
        entry = np.where(away, arena.start[of] + arena.decode[of, block, self.here], 0.0)
        load = computing + entry
        sends = np.where(away, self._sending[rows, self.here][:, None] + self._sent, 0.0)
        worst = self.worst()[:, None]
        # Rates of devices that share the rest of the model: of all others, and of all others with this one.
        options = allowed & away
        rate = 1 / np.maximum(computing + views.rest[of, block], 1e-3)
        open_rate = np.where(options, rate, 0.0)
        others = open_rate.sum(axis=1)[:, None] - open_rate
        need = self._parameters + np.maximum(self._working, arena.working[of, block][:, None])
        free = np.maximum(self._room - need, 0.0) / np.maximum(views.rest_parameters[of, block], 1.0)[:, None]
        seen = np.empty((*allowed.shape, FEATURES), dtype=np.float32)
        seen[..., :FIXED] = views.fixed[of, block]
        times = seen[..., FIXED:-5]
        times[..., :-8] = load[:, :, None] + views.work[of, block]
        times[..., -8] = worst
        times[..., -7] = computing
        times[..., -6] = sends
        times[..., -5] = np.where(options, sends, _FAR).min(axis=1)[:, None]
        times[..., -4] = 1 / np.maximum(others, 1 / _FAR)
        times[..., -3] = 1 / (others + rate)
        times[..., -2] = np.maximum(worst, load)
        times[..., -1] = np.maximum(worst, sends)
        seen[..., FIXED:-5] = _seen(times)
        seen[..., -5] = self._stays
        seen[..., -4] = arena.bandwidth[of, self.here] / 3
        seen[..., -3] = np.minimum(need / np.maximum(self._room, 1.0), 2.0)
        seen[..., -2] = np.minimum(free, 1.0)
        seen[..., -1] = options.sum(axis=1)[:, None] / 8
        return seen

    def step(self, chosen: Index) -> None:
        """Place the next block on ``chosen`` [E], which must be allowed, in the episodes that are alive."""
        arena, block = self._arena, self._block
        rows = np.flatnonzero(self.alive & (chosen != self.here))
        if rows.size:
            of, sender, receiver = self._of[rows], self.here[rows], chosen[rows]
            self._sending[rows, sender] += arena.move[of, block, sender, receiver]
            self._computing[rows, sender] += arena.encode[of, block, sender, receiver]
            self._computing[rows, receiver] += arena.start[of, receiver] + arena.decode[of, block, sender, receiver]
            self._left[rows, sender] = True
            self._used[rows] += 1
            self.here = np.where(self.alive, chosen, self.here)
        self._place()

    def worst(self) -> Array:
        """Return [E]: the busiest computing or sending so far, in units."""
        return np.asarray(np.maximum(self._computing.max(axis=1), self._sending.max(axis=1)))

    def _place(self) -> None:
        """Add the next block's work to the device of every episode, and after the last one the transfer to the sink."""
        arena, block = self._arena, self._block
        rows = np.flatnonzero(self.alive)
        of, here = self._of[rows], self.here[rows]
        self.placed[rows] += 1
        self._computing[rows, here] += arena.run[of, block, here]
        self._parameters[rows, here] += arena.parameters[of, block]
        self._working[rows, here] = np.maximum(self._working[rows, here], arena.working[of, block])
        self._block += 1
        ended = self.alive & (arena.blocks[self._of] == self._block)
        if ended.any():
            self.done |= ended
            self.alive &= ~ended
            self._finish(np.flatnonzero(ended & (arena.sink[self._of] >= 0) & (arena.sink[self._of] != self.here)))
        if self.alive.any():
            self._look()
            self.alive &= self.allowed.any(axis=1)

    def _finish(self, rows: Index) -> None:
        arena, block = self._arena, self._block
        of, here = self._of[rows], self.here[rows]
        sink = arena.sink[of]
        self._sending[rows, here] += arena.move[of, block, here, sink]
        self._computing[rows, here] += arena.encode[of, block, here, sink]
        self._computing[rows, sink] += arena.decode[of, block, here, sink]

    def _look(self) -> None:
        """Compute which devices may run the next block, and the time of the transfer to them."""
        arena, of, block = self._arena, self._of, self._block
        self._stays: Flags = self._nodes == self.here[:, None]
        sent = arena.move[of, block, self.here]
        self._sent: Array = np.minimum(sent, _FAR)
        parameters = self._parameters + arena.parameters[of, block][:, None]
        working = np.maximum(self._working, arena.working[of, block][:, None])
        enters = np.isfinite(sent) & ~self._left & (self._used < self._most)[:, None]
        # The last device that the policy allows has to run all remaining blocks.
        enters &= arena.alone[of, block] | (self._used + 1 < self._most)[:, None]
        fits = arena.ahead[of, block] & (parameters + working <= self._room)
        self.allowed: Flags = (self._stays | enters) & fits & self.alive[:, None]


def _seen(times: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return times as features: from -1.5 for no time to 3.8 for an impossible one."""
    return np.asarray(np.log(np.minimum(times, _FAR) + _NEAR) / 2)
