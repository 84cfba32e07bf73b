"""Busy times of partial routes: the recurrence that every search for throughput follows.

A route keeps resources busy: the computing of devices and their sending. A partial route has a vector of 2 D busy times
in ms per round: first the computing of every node, then the sending. Putting the next block on another node changes
three of them:

- the sending of the node that sends,
- the computing of the node that sends (encoding),
- the computing of the node that receives (decoding, the start of a segment, the block).

Staying changes one.
"""

from dataclasses import dataclass

import numpy as np

from planning.search.arrays import Array, Index
from planning.search.cost_tables import Tables


@dataclass(frozen=True, slots=True, eq=False)
class BusyWays:
    """Additions to the busy times of W partial routes by K extensions from each, in ms.

    Attributes:
        codec, node: [K] the encoding in which the next block's input travels, and where the block runs. Staying has
            codec 0.
        sent: [W, K] added to the sending of the node that sends; inf where there is no way.
        encoded: [W, K] added to the computing of the node that sends.
        worked: [W, K] added to the computing of the node that runs the next block; inf where it cannot.
    """

    codec: Index
    node: Index
    sent: Array
    encoded: Array
    worked: Array


class BusyTimes:
    """The busy times of one stream's routes.

    Attributes:
        nodes: D, the number of nodes.
        weight: jobs per round; busy times are those of all jobs of a round.
    """

    def __init__(self, tables: Tables, weight: float, initial: Array) -> None:
        """Start from the busy times that other streams cause, ``initial``: [2 D] ms per round."""
        self.nodes, self.weight = len(tables.nodes), weight
        self._tables, self._initial = tables, initial
        codec, node = np.indices(tables.transfer_ms.shape[1:3])
        self._codec, self._node = codec.ravel(), node.ravel()
        # [B + 1, E, D]: encoding on every node
        self._encoded = weight * tables.encode_ms[:, :, None] * tables.codec_factor
        # [B, E, D]: all computing of a node that receives the input of a block
        decoded_ms = tables.decode_ms[:-1, :, None] * tables.codec_factor
        self._worked = weight * (decoded_ms + tables.start_ms + tables.run_ms.T[:, None, :])

    def begin(self) -> Array:
        """Return the busy times once every node has run the first block, [D, 2 D]."""
        tables, source, node = self._tables, self._tables.source, np.arange(self.nodes)
        moves = node != source
        busy = np.repeat(self._initial[None, :], self.nodes, axis=0)
        busy[:, self.nodes + source] += np.where(moves, self.weight * tables.transfer_ms[0, 0, source], 0.0)
        busy[:, source] += np.where(moves, self._encoded[0, 0, source], 0.0)
        busy[node, node] += np.where(moves, self.weight * tables.decode_ms[0, 0] * tables.codec_factor, 0.0)
        busy[node, node] += self.weight * (tables.run_ms[:, 0] + tables.start_ms)
        return busy

    def ways(self, done: int, node: Index) -> BusyWays:
        """Return all ways to put block ``done`` on a node, K = E D of them, encoding by encoding.

        Args:
            done: the block that is placed next.
            node: [W] where the block before it runs.
        """
        rows, tables, shape = np.arange(len(node)), self._tables, (len(node), len(self._node))
        sent = self.weight * tables.transfer_ms[done][:, node, :].transpose(1, 0, 2)
        encoded = np.repeat(self._encoded[done][:, node].T, self.nodes, axis=1)
        worked = np.repeat(self._worked[done].reshape(1, -1), len(node), axis=0)
        # The way that stays is column ``node`` of encoding 0: nothing is sent, and no segment starts.
        sent[rows, 0, node] = 0.0
        encoded[rows, node] = 0.0
        worked[rows, node] = self.weight * tables.run_ms[node, done]
        return BusyWays(self._codec, self._node, sent.reshape(shape), encoded, worked)

    def worst_ms(self, busy: Array, node: Index, ways: BusyWays) -> Array:
        """Return the largest busy time after every extension, [W, K], without making the vectors.

        Only the entries that change can exceed the present largest one.

        Args:
            busy: [W, 2 D] present busy times.
            node: [W] where the block before the next runs.
            ways: the extensions from there.
        """
        rows = np.arange(len(node))
        worst = np.maximum(busy[rows, self.nodes + node, None] + ways.sent, busy[rows, node, None] + ways.encoded)
        worst = np.maximum(worst, busy[:, ways.node] + ways.worked)
        return np.asarray(np.maximum(worst, busy.max(axis=1)[:, None]))

    def advance(self, busy: Array, node: Index, ways: BusyWays, origin: Index, chosen: Index) -> Array:
        """Return the busy times after [N] chosen ways, [N, 2 D].

        Args:
            busy: [W, 2 D] present busy times.
            node: [W] where the block before the next runs.
            ways: the extensions from there.
            origin: [N] the partial route that each continues.
            chosen: [N] the way that it takes, by index.
        """
        rows, sender, receiver = np.arange(len(chosen)), node[origin], ways.node[chosen]
        after = busy[origin]
        # One statement each: sender and receiver are the same node where a route stays.
        after[rows, self.nodes + sender] += ways.sent[origin, chosen]
        after[rows, sender] += ways.encoded[origin, chosen]
        after[rows, receiver] += ways.worked[origin, chosen]
        return after

    def vectors(self, node: int, ways: BusyWays) -> Array:
        """Return the additions to the vector of one partial route by every extension, [K, 2 D].

        Args:
            node: where its last block runs.
            ways: the extensions from there; W is 1.
        """
        rows = np.arange(len(ways.node))
        added = np.zeros((len(rows), 2 * self.nodes))
        added[:, self.nodes + node] = ways.sent[0]
        added[:, node] = ways.encoded[0]
        added[rows, ways.node] += ways.worked[0]
        return added

    def finish_ms(self, busy: Array, node: Index) -> Array:
        """Return the largest busy time once the result has reached the sink, [W, E]; inf where it cannot.

        Args:
            busy: [W, 2 D] busy times with all blocks placed.
            node: [W] where the last block runs.
        """
        tables, rows = self._tables, np.arange(len(node))
        worst = busy.max(axis=1)
        sink = node if tables.sink is None else np.full_like(node, tables.sink)
        sent = self.weight * tables.transfer_ms[-1][:, node, sink]
        encoded = self._encoded[-1][:, node]
        decoded = self.weight * tables.decode_ms[-1][:, None] * tables.codec_factor[sink]
        # Sender and sink differ here, so each busy time has one addition. Routes that end at the sink are set below.
        ends = np.maximum(busy[rows, self.nodes + node] + sent, busy[rows, node] + encoded)
        ends = np.maximum(np.maximum(ends, busy[rows, sink] + decoded), worst).T
        stays = node == sink
        ends[stays] = np.inf
        ends[stays, 0] = worst[stays]
        return np.asarray(ends)
