"""Figures that the papers and their data sets print; times in ms, sizes as named."""

# Hu & Mishra, table I: bytes of the outputs of VGG16 in MiB.
VGG16_MIB = {
    "input": 0.574,
    "conv1_1": 12.25,
    "conv1_2": 12.25,
    "pool1": 3.06,
    "conv2_1": 6.13,
    "conv2_2": 6.13,
    "pool2": 1.53,
}

# Hu & Mishra, table III: times in ms from the first layer of VGG16 up to each of these, on a dual-core i5.
VGG16_SERVER_MS = {
    "conv1_2": 97.33,
    "pool1": 96.73,
    "conv2_2": 145.27,
    "pool2": 143.10,
    "conv3_3": 237.71,
    "pool3": 224.46,
    "conv4_3": 294.06,
    "pool4": 291.06,
    "conv5_3": 319.16,
    "pool5": 318.02,
}

# Masud et al., ParetoPipe's measurements on a Raspberry Pi 4: the first 1, 2, ... parts, per image, noisy by 10 %.
PI4_HEAD_MS: dict[str, tuple[float, ...]] = {
    "alexnet": (12, 12, 15, 31, 31, 32, 40, 40, 54, 52, 60, 62),
    "mobilenetv2": (10, 23, 72, 91, 88, 92, 109, 113, 116, 143, 137, 157, 157, 131, 139, 142, 144, 148),
    "resnet18": (32, 34, 37, 46, 102, 139, 197, 208),
    "resnet50": (126, 181, 228, 304, 335, 378, 404, 463, 486, 509, 535, 553, 583, 631, 634, 675, 674, 662),
    "vgg16": (
        *(110, 123, 345, 357, 371, 462, 470, 628, 636, 691, 720, 720, 862, 852, 993, 982, 1008, 1083, 1102, 1252),
        *(1368, 1459, 1412, 1455, 1466, 1469, 1520, 1495, 1509, 1558),
    ),
    "inceptionv3": (28, 63, 135, 148, 163, 218, 236, 279, 348, 346, 401, 443, 488, 528, 588, 621, 648, 696, 691),
}

PI4_WHOLE_MS = {
    "alexnet": 107.0,
    "mobilenetv2": 150.0,
    "resnet18": 208.0,
    "resnet50": 674.0,
    "vgg16": 1642.0,
    "inceptionv3": 697.0,
}
# The splits between two Raspberry Pis with the highest rate, as measured there.
PI4_BEST_SPLIT = {"alexnet": 10, "mobilenetv2": 3, "resnet18": 2, "resnet50": 6, "vgg16": 13, "inceptionv3": 10}

# Duan & Wu, after DADS: bandwidths of networks.
NETWORKS_MBPS = {"3G": 1.1, "4G": 5.85, "Wi-Fi": 18.88}

# Local times, which Duan & Wu do not publish: those nearest to their table 1. None fits for GoogLeNet.
PI4_FIT_MS = {"alexnet": 220.0, "mobilenetv2": 1270.0, "resnet18": 600.0, "googlenet": 764.0}

# Share of the convolutions in AlexNet's local time, by the same fit.
ALEXNET_CONVOLUTION_SHARE = 0.685

# Duan & Wu, table 1: reduction of the time against all local, for their baseline PO and for JPS.
REDUCTIONS_PERCENT: dict[str, dict[str, tuple[float, float]]] = {
    "alexnet": {"3G": (0, 22.06), "4G": (33.33, 42.11), "Wi-Fi": (63.91, 73.43)},
    "mobilenetv2": {"3G": (27.60, 56.73), "4G": (60.00, 78.83), "Wi-Fi": (82.81, 84.69)},
    "googlenet": {"3G": (0, 52.83), "4G": (56.13, 71.93), "Wi-Fi": (66.63, 72.17)},
    "resnet18": {"3G": (0, 0.73), "4G": (1.46, 28.22), "Wi-Fi": (58.52, 58.52)},
}

# Duan & Wu's worked example: (f, g) of three cuts of AlexNet, ms.
EXAMPLE_CUTS = {3: (6.7, 27.2), 4: (9.8, 9.5), 6: (16.5, 6.4)}
