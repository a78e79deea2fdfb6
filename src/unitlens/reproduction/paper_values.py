"""The numbers that the paper reports."""

LEVELS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)  # of label corruption
MNIST_MEANS = (0.80, 0.55, 0.44, 0.42, 0.36, 0.34)  # train accuracy over the ablation range
MNIST_SCALES = {0.2: 1.9, 1.0: 0.8}  # of noise at half accuracy, by level of label corruption
CIFAR10_SCALES = {0.0: 0.66, 1.0: 0.41}
BEST_ERROR, WORST_ERROR = 0.14, 0.35  # test errors of the networks of figure 3a
SETTINGS_IN_HALF = 48  # of the sweep; AUC selects one of them (M)
TOP_SHARES = {1: 0.13, 5: 0.83, 10: 0.98}  # selections among the top 1, 5 and 10 (M)
DROPOUTS, DROPOUT_LEVELS = (0.1, 0.2, 0.3), (0.0, 1.0)  # figure 5a; levels of corruption
BEST_MAPS, WORST_MAPS = 1440, 500  # ablated until accuracy is one half, figure 3a
ABLATED_MAPS = (400, 800, 1200)
WITH_BATCH_NORM, WITHOUT_BATCH_NORM = (0.98, 0.87, 0.52), (0.66, 0.35, 0.19)
SWEPT_SETTINGS = 96  # of figure 4c, of two networks each (M)
EXTREMES = 5  # networks at either end of figure 3a
CLASSES = 10  # of MNIST
MNIST_CORRELATION, MNIST_P_VALUE = 0.095, 0.288  # of figure 7a
IMAGENET_CORRELATION, IMAGENET_P_VALUE = -0.012, 0.149  # of figure 7d
NETWORKS_OF_A_KIND = 4  # with and without batch norm, in figures 6a and 6b
CIFAR10_LAYERS = (-0.69, -0.135, -0.04, -0.02, -0.03, 0.03, 0.055, 0.0, 0.03, -0.11, 0.01)
