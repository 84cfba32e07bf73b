"""Kernels of convolutions and poolings with their padding as explicit numbers."""

from dataclasses import dataclass

from shared.model.graph import Graph, Node

# Axes before the spatial ones: batch and channels.
_LEADING_AXES = 2
# Input that holds the kernels; other operators state their size as an attribute.
_KERNEL_INPUTS = {"Conv": 1, "FusedConv": 1, "ConvInteger": 1, "QLinearConv": 3, "ConvTranspose": 1}


@dataclass(frozen=True, slots=True)
class KernelWindow:
    """Kernel along the spatial axes.

    Attributes:
        extents: elements from the first to the last of the kernel, with dilation.
        strides: of the kernel's positions.
        pads: padding before, then behind each axis.
        ceil: whether sizes are rounded up.
    """

    extents: tuple[int, ...]
    strides: tuple[int, ...]
    pads: tuple[int, ...]
    ceil: bool = False

    def counts(self, sizes: tuple[int, ...]) -> tuple[int, ...]:
        """Return the number of positions of the kernel along each axis of an image of these sizes.

        Where sizes are rounded up, no kernel begins in the padding behind the image, as in the runtime.
        """
        count = len(sizes)
        axes = zip(sizes, self.extents, self.strides, self.pads[:count], self.pads[count:], strict=True)
        return tuple(self._count(*axis) for axis in axes)

    def _count(self, size: int, extent: int, stride: int, before: int, behind: int) -> int:
        span = size + before + behind - extent
        if not self.ceil:
            return span // stride + 1
        count = -(-span // stride) + 1
        return count - 1 if (count - 1) * stride >= size + before else count


def kernel_window(graph: Graph, node: Node) -> KernelWindow:
    """Return the kernel of a convolution or pooling; automatic padding becomes explicit."""
    extents, strides = _extents(graph, node), _strides(graph, node)
    count = len(extents)
    mode = node.text("auto_pad", "NOTSET")
    if mode == "NOTSET":
        pads = node.integers("pads", (0,) * 2 * count)
        return KernelWindow(extents, strides, pads, bool(node.integer("ceil_mode", 0)))
    if mode == "VALID":
        return KernelWindow(extents, strides, (0,) * 2 * count, bool(node.integer("ceil_mode", 0)))
    sizes = graph.tensor(node.inputs[0]).shape[_LEADING_AXES:]
    missing = [
        max((-(-size // stride) - 1) * stride + extent - size, 0)
        for size, stride, extent in zip(sizes, strides, extents, strict=True)
    ]
    return KernelWindow(extents, strides, _shared_out(missing, more_behind=mode == "SAME_UPPER"))


def transposed_window(graph: Graph, node: Node) -> tuple[KernelWindow, tuple[int, ...]]:
    """Return the kernel of a transposed convolution, and its output padding.

    Pads are the rows and columns that it cuts off. A stated output shape, or automatic padding, becomes explicit.
    """
    extents, strides = _extents(graph, node), _strides(graph, node)
    count = len(extents)
    added = node.integers("output_padding", (0,) * count)
    mode = node.text("auto_pad", "NOTSET")
    if mode == "VALID" and "output_shape" not in node.attributes:
        return KernelWindow(extents, strides, (0,) * 2 * count), added
    if mode == "NOTSET" and "output_shape" not in node.attributes:
        return KernelWindow(extents, strides, node.integers("pads", (0,) * 2 * count)), added
    before = graph.tensor(node.inputs[0]).shape[_LEADING_AXES:]
    after = graph.tensor(node.outputs[0]).shape[_LEADING_AXES:]
    surplus = [
        (size - 1) * stride + extent + more - wanted
        for size, stride, extent, more, wanted in zip(before, strides, extents, added, after, strict=True)
    ]
    # Where the kernels do not reach the end of the output, the rest is added behind it.
    added = tuple(max(more, more - lacking) for more, lacking in zip(added, surplus, strict=True))
    cut = [max(lacking, 0) for lacking in surplus]
    return KernelWindow(extents, strides, _shared_out(cut, more_behind=mode == "SAME_UPPER")), added


def _extents(graph: Graph, node: Node) -> tuple[int, ...]:
    weights = _KERNEL_INPUTS.get(node.op_type)
    shape = () if weights is None else graph.tensor(node.inputs[weights]).shape[_LEADING_AXES:]
    kernel = node.integers("kernel_shape", shape)
    dilations = node.integers("dilations", (1,) * len(kernel))
    return tuple((size - 1) * dilation + 1 for size, dilation in zip(kernel, dilations, strict=True))


def _strides(graph: Graph, node: Node) -> tuple[int, ...]:
    return node.integers("strides", (1,) * (len(graph.tensor(node.inputs[0]).shape) - _LEADING_AXES))


def _shared_out(totals: list[int], *, more_behind: bool) -> tuple[int, ...]:
    """Divide the padding of each axis between its ends; an odd element goes behind, or before."""
    smaller = [total // 2 for total in totals]
    larger = [total - half for total, half in zip(totals, smaller, strict=True)]
    return (*smaller, *larger) if more_behind else (*larger, *smaller)
