"""Published strategies that divide the rows of layers over devices: DistrEdge and what it is compared with."""
