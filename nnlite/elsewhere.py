"""Names that people bring from other libraries: what means the same here, or what is ours instead.

Case, hyphens and underscores do not count in these names. A value that is one of our own names is understood; any other
is what an error says.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
NONE: Mapping[str, str] = MappingProxyType({})

ACTIVATIONS = {
    "linear": "identity",
    "logistic": "sigmoid",
    "exp": "exponential",
    "swish": "silu",
    "logits": "it is 'identity', and a loss with from_logits=True",
    "lrelu": "leaky_relu",
    "gelunew": "gelu_tanh",
    "sin": "it is nl.Sine(frequency=1)",
    "relu6": "it is nl.HardTanh(0, 6)",
    "celu": "the nearest is nl.ELU",
    "maxout": "the nearest is nl.ReLU",
    "hardswish": "the nearest is nl.SiLU",
    "dropout": "it is a layer: put nl.Dropout(rate) into nl.Sequential",
}

LOSSES = {
    "meansquarederror": "mse",
    "squarederror": "mse",
    "mseloss": "mse",
    "meanabsoluteerror": "mae",
    "absoluteerror": "mae",
    "l1loss": "mae",
    "l1": "mae",
    "smoothl1loss": "huber",
    "smoothl1": "huber",
    "huberloss": "huber",
    "pinball": "quantile",
    "pinballloss": "quantile",
    "binarycrossentropy": "bce",
    "bceloss": "bce",
    "crossentropy": "cce",
    "crossentropyloss": "cce",
    "categoricalcrossentropy": "cce",
    "sparsecategoricalcrossentropy": "cce",
    "kldivergence": "kl",
    "kullbackleiblerdivergence": "kl",
    "kld": "kl",
    "poissonnllloss": "poisson",
    "binaryfocalcrossentropy": "binary_focal",
    "bcewithlogitsloss": "it is nl.BinaryCrossEntropy(from_logits=True)",
    "bcewithlogits": "it is nl.BinaryCrossEntropy(from_logits=True)",
    "softmaxcrossentropy": "it is nl.CategoricalCrossEntropy(from_logits=True)",
    "nllloss": 'it is "cce" for a network that ends in nl.LogSoftmax()',
    "nll": 'it is "cce" for a network that ends in nl.LogSoftmax()',
    "kldivloss": 'it is "kl" for a network that ends in nl.LogSoftmax()',
    "logloss": 'it is "bce" for yes-or-no outputs and "cce" for classes',
    "focal": 'it is "binary_focal" for yes-or-no outputs and "categorical_focal" for classes',
    "categoricalfocalcrossentropy": 'it is alpha (0.25) times "categorical_focal", which has none',
    "rmse": 'it is a metric; the loss with the same minimum is "mse"',
    "r2": 'it is a metric; the loss with the same optimum is "mse"',
    "accuracy": 'it is a metric; a loss for classes is "cce"',
}

INITIALIZERS = {
    "xavier": "it is 'glorot_uniform' or 'glorot_normal'",
    "glorot": "it is 'glorot_uniform' or 'glorot_normal'",
    "kaiming": "it is 'he_uniform' or 'he_normal'",
    "he": "it is 'he_uniform' or 'he_normal'",
    "xaviernormal": "glorot_normal",
    "kaiminguniform": "he_uniform",
    "kaimingnormal": "he_normal",
    "randomuniform": "it is nl.initializers.uniform(-0.05, 0.05), with Keras's limits",
    "truncnormal": "truncated_normal",
    "normal": "the nearest is 'lecun_normal'",
    "randomnormal": "the nearest is 'lecun_normal'",
    "lecununiform": "the nearest is 'lecun_normal'",
    "ones": "it is nl.initializers.constant(1)",
    "constant": "it is nl.initializers.constant(value)",
}

OPTIMIZERS = {
    "lbfgs": 'it is trainer.minimize(x, y, method="lbfgs"), on all rows at once',
    "levenbergmarquardt": 'it is trainer.minimize(x, y, method="lm"), for least squares',
}

METRICS = {
    "acc": "accuracy",
    "binaryaccuracy": "accuracy",
    "categoricalaccuracy": "accuracy",
    "sparsecategoricalaccuracy": "accuracy",
    "topkaccuracy": "it is nl.metrics.TopKAccuracy(k), and 'top_5_accuracy'",
    "topkcategoricalaccuracy": "it is nl.metrics.TopKAccuracy(k), and 'top_5_accuracy'",
    "sensitivity": "recall",
    "f1score": "f1",
    "auc": "roc_auc",
    "rocaucscore": "roc_auc",
    "averageprecisionscore": "average_precision",
    "crossentropy": "log_loss",
    "binarycrossentropy": "log_loss",
    "categoricalcrossentropy": "log_loss",
    "brierscore": "brier",
    "brierscoreloss": "brier",
    "meanabsoluteerror": "mae",
    "rootmeansquarederror": "rmse",
    "meanabsolutepercentageerror": "mape",
    "r2score": "r2",
    "mse": "it is the square of 'rmse', and with the loss \"mse\" the history's 'loss'",
    "meansquarederror": "it is the square of 'rmse', and with the loss \"mse\" the history's 'loss'",
}

FIT = {
    "steps_per_epoch": "an epoch uses every row once, and a generator must end; epochs= and batch_size= say how many "
    "steps that makes",
    "n_epochs": "it is epochs=",
    "epoch": "it is epochs=",
    "max_epochs": "it is epochs=",
    "batch": "it is batch_size=",
    "num_epochs": "it is epochs=",
    "nEpochs": "it is epochs=",
    "max_iter": "it is epochs=",
    "batchSize": "it is batch_size=",
    "lr": "it is an argument of the optimizer: Trainer(net, optimizer=nl.SGD(lr=0.1))",
    "learning_rate": "it is an argument of the optimizer: Trainer(net, optimizer=nl.SGD(lr=0.1))",
    "loss": "it is an argument of the Trainer, or trainer.loss = …",
    "loss_func_name": "it is loss=, an argument of the Trainer, or trainer.loss = …",
    "optimizer": "it is an argument of the Trainer, or trainer.optimizer = …",
    "metrics": "it is an argument of the Trainer, or trainer.metrics = …",
}

FIT_ALIASES = {"verbose": "progress"}

EVALUATE = {
    "verbose": "it shows nothing",
    "return_dict": "it always returns a dict",
    "steps": "it uses every row once",
    "callbacks": "they look at fit",
}

ARRAYS = "evaluate and validation_data take arrays x and y; a generator or a list of chunks is for training only"

STATE = {  # arguments of load_state_dict
    "strict": "every name must be there; for a part of them, net.load_state_dict(net.state_dict() | part)",
    "assign": "it always copies the numbers into the network's arrays",
}

LOAD = {  # arguments of nl.load
    "layout": "nl.load(path, like=net) reads a file with PyTorch's names or ours into a copy of net",
    "strict": "nl.load(path, like=net) reads a file whose names are all those of net",
    "map_location": "it is device=",
    "weights_only": "a file never has code in it",
    "custom_objects": "nl.register lets files name classes of your own",
    "compile": "nl.Trainer.load(path) has the optimizer and the loss, too, if trainer.save(path) wrote the file",
}

OPTIMIZER = {  # arguments of every optimizer
    "learning_rate": "it is lr=",
    "params": "a Trainer hands it the network's parameters",
    "clipvalue": "it is clip_value=",
    "clipnorm": "it is clip_norm=, over all parameters together",
    "global_clipnorm": "it is clip_norm=",
    "eps": "it is epsilon=, where the rule has one",
    "betas": "it is beta1= and beta2=, where the rule has them",
    "alpha": "it is rho= of nl.RMSprop",
    "decay": "it is a schedule as lr=, such as nl.schedules.Exponential(0.1, 0.9)",
    "beta_1": "it is beta1=, where the rule has it",
    "beta_2": "it is beta2=, where the rule has it",
    "use_ema": "it is average=0.99, and trainer.averaged() is the network with these means",
    "ema_momentum": "it is average=0.99, and trainer.averaged() is the network with these means",
}

WATCHER = {  # arguments of callbacks that wait for a value to improve
    "threshold": "it is min_delta=, by which a value must be better, in its own units",
    "eps": "a learning rate does not fall by less than 1e-8",
    "baseline": "the first epoch is the first to beat",
    "start_from_epoch": "a larger patience= outlasts the first epochs, too",
    "verbose": "trainer.history and trainer.optimizer.lr tell what happened, as does an attribute such as best_epoch",
}

CHECKPOINT = {
    "save_best_only": 'it is monitor="val_loss": the best epoch has a file of its own, best_path',
    "save_weights_only": "a file has all that training needs, and nl.load takes the network from it",
    "save_freq": "it is every=, a number of epochs, or seconds=",
    "verbose": "written has the names of the last files",
}

NAMES = {  # of the package, or of one of its modules, and what they are here
    "metrics.MeanSquaredError": 'nl.metrics.RootMeanSquaredError(), its root; with the loss "mse", history["loss"]',
    "metrics.BinaryCrossentropy": "nl.metrics.LogLoss()",
    "metrics.CategoricalCrossentropy": "nl.metrics.LogLoss()",
    "Swish": "nl.SiLU()",
    "Hardtanh": "nl.HardTanh(low, high)",
    "Hardsigmoid": "nl.HardSigmoid()",
    "ReLU6": "nl.HardTanh(0, 6)",
    "nn_model": 'nl.mlp([2, 3, 1], hidden="sigmoid", output="sigmoid")',
    "init_params": 'init="xavier_uniform" of nl.mlp',
    "nn_optimize": 'nl.Trainer(net, "mse", nl.SGD(lr=0.5)).fit(x, y, epochs=10, batch_size=4)',
    "nn_optimize_fast": 'nl.Trainer(net, "mse", nl.SGD(lr=0.5)).fit(x, y, epochs=10, batch_size=4)',
    "visualize": "nl.plots.network(net)",
    "MSE_loss": "nl.MSE()",
    "MAE_loss": "nl.MAE()",
    "BCE_loss": "nl.BinaryCrossEntropy()",
    "CCE_loss": "nl.CategoricalCrossEntropy()",
    "MSELoss": "nl.MSE()",
    "L1Loss": "nl.MAE()",
    "SmoothL1Loss": "nl.Huber()",
    "HuberLoss": "nl.Huber()",
    "BCELoss": "nl.BinaryCrossEntropy()",
    "BCEWithLogitsLoss": "nl.BinaryCrossEntropy(from_logits=True)",
    "CrossEntropyLoss": "nl.CategoricalCrossEntropy(from_logits=True)",
    "NLLLoss": "nl.CategoricalCrossEntropy() after nl.LogSoftmax()",
    "KLDivLoss": "nl.KLDivergence() after nl.LogSoftmax()",
    "PoissonNLLLoss": "nl.Poisson()",
    "MeanSquaredError": "nl.MSE()",
    "MeanAbsoluteError": "nl.MAE()",
    "BinaryCrossentropy": "nl.BinaryCrossEntropy()",
    "CategoricalCrossentropy": "nl.CategoricalCrossEntropy()",
    "SparseCategoricalCrossentropy": "nl.CategoricalCrossEntropy()",
    "save_model_weights": "net.save(path)",
    "load_model_weights": "nl.load(path)",
    "Model": "nl.Sequential(…), and nl.Trainer(net) for compile and fit",
    "Module": "nl.Sequential(…), or nl.Layer for one of your own",
    "ModuleList": "nl.Sequential(…), or a list of layers as an attribute of an nl.Layer of your own",
    "clone_model": "net.copy(), which has the same weights",
    "ModelCheckpoint": "nl.Checkpoint(path)",
    "BackupAndRestore": "nl.Checkpoint(path), with trainer.resume(path) before fit",
    "TerminateOnNaN": "nothing: fit raises nl.DivergedError where the loss or a parameter is no longer finite",
    "LambdaCallback": "nl.Callback, or a function f(trainer, epoch)",
    "LearningRateScheduler": "nl.schedules.Function(f), in the place of a learning rate",
    "LRFinder": "nl.lr_range_test(trainer, x, y)",
    "DataLoader": "nl.Trainer(net).fit(x, y, batch_size=32), which makes and shuffles the batches",
    "Precision": "nl.metrics.Precision()",
    "Recall": "nl.metrics.Recall()",
    "AUC": "nl.metrics.ROCAUC()",
    "F1Score": "nl.metrics.F1()",
    "Cosine": "nl.schedules.Cosine(lr, length)",
    "CosineDecay": "nl.schedules.Cosine(lr, length)",
    "CosineAnnealingLR": "nl.schedules.Cosine(lr, length)",
    "CosineAnnealingWarmRestarts": "nl.schedules.Cosine(lr, length, restarts=True)",
    "CosineDecayRestarts": "nl.schedules.Cosine(lr, length, restarts=True)",
    "LambdaLR": "nl.schedules.Function(f), where f gives the rate itself",
    "LinearLR": "warmup= of every schedule, or nl.schedules.Polynomial(lr, length)",
    "PolynomialLR": "nl.schedules.Polynomial(lr, length)",
    "PolynomialDecay": "nl.schedules.Polynomial(lr, length)",
    "ExponentialDecay": "nl.schedules.Exponential(lr, factor)",
    "PiecewiseConstantDecay": "nl.schedules.StepDecay(lr, every)",
    "StepLR": "nl.schedules.StepDecay(lr, every)",
    "MultiStepLR": "nl.schedules.StepDecay(lr, every)",
    "ExponentialLR": "nl.schedules.Exponential(lr, factor)",
    "OneCycleLR": "nl.schedules.OneCycle(lr, length)",
    "BatchNorm1d": "nl.BatchNorm(inputs)",
    "BatchNormalization": "nl.BatchNorm(inputs)",
    "LayerNormalization": "nl.LayerNorm(inputs)",
    "Input": "the first layer's number of inputs: nl.Dense(4, 8)",
    "InputLayer": "the first layer's number of inputs: nl.Dense(4, 8)",
    "Parameter": 'self.shapes = {"g": (inputs,)} of an nl.Layer of your own, which then has self.g and self.dg',
    "Lambda": "an nl.Layer of your own, with kernels made by nl.kernel",
    "Concatenate": "not there: a network is a row of layers, and nl.Residual adds to x what a row gives",
    "Normalization": "(x - x.mean(axis=0)) / x.std(axis=0), before fit",
    "Reshape": "x.reshape(len(x), -1), before fit",
    "Flatten": "x.reshape(len(x), -1), before fit",
    "Embedding": "nl.Dense on the columns of a one-hot x",
    "Conv2d": "not there: nnlite has layers for rows of numbers",
    "Conv2D": "not there: nnlite has layers for rows of numbers",
    "LSTM": "not there: nnlite has layers for rows of numbers",
    "models": "nl.Sequential",
    "utils": "labels may be whole numbers, without to_categorical; nl.plots.network(net) is plot_model, and "
    "nl.datasets.split divides rows",
    "plot_model": "nl.plots.network(net), or net.summary()",
    "data": "arrays: nl.Trainer(net).fit(x, y, batch_size=32) makes the batches, and nl.datasets has data sets",
    "keras": "the package itself, such as nl.Sequential and nl.Dense",
    "nn": "the package itself, such as nl.Dense and nl.MSE",
    "optim": "the package itself, such as nl.Adam",
    "init": 'init="he_normal" of nl.Dense and nl.mlp, and nl.initializers',
    "regularizers": "weight_decay= and l1= of every optimizer, such as nl.AdamW(weight_decay=0.01)",
    "autograd": "net.forward(x) and net.backward(dy): every layer has a backward beside its forward",
    "functional": "nl.get_device().ops, whose kernels work on arrays",
    "backend": "nl.get_device().ops, whose kernels work on arrays",
    "Tensor": "an array of NumPy or CuPy",
    "tensor": "an array of NumPy or CuPy",
    "from_numpy": "the NumPy array itself",
    "no_grad": "net.predict(x), which keeps nothing for a gradient",
    "device": 'device="cuda" of nl.mlp or nl.Sequential, or net.to("cuda")',
    "manual_seed": "seed=0 of nl.mlp or nl.Sequential",
    "seed": "seed=0 of nl.mlp or nl.Sequential",
    "set_random_seed": "seed=0 of nl.mlp or nl.Sequential",
    "plot_history": "history.plot()",
    "set_seed": "seed=0 of nl.mlp or nl.Sequential",
    "clip_grad_norm_": "clip_norm=1.0 of every optimizer",
    "clip_grad_value_": "clip_value=1.0 of every optimizer",
    "lr_scheduler": "nl.schedules, in the place of a learning rate",
    "load_model": "nl.load(path)",
    "save_model": "net.save(path)",
    "save": "net.save(path)",
    "to_categorical": "nothing: labels may be whole numbers",
    "one_hot": "nothing: labels may be whole numbers",
    "train_test_split": "nl.datasets.split(x, y, test=0.25)",
    "StandardScaler": "nl.TableClassifier, which scales columns, or scikit-learn's",
    "accuracy_score": 'metrics=["accuracy"] of nl.Trainer, and trainer.evaluate(x, y)["accuracy"]',
    "classification_report": 'nl.metrics.Precision(), Recall and F1, or metrics=["precision", …] of nl.Trainer',
    "load_iris": "nl.datasets.iris()",
    "load_digits": "nl.datasets.digits()",
    "load_wine": "nl.datasets.wine()",
    "load_breast_cancer": "nl.datasets.breast_cancer()",
    "make_moons": "nl.datasets.moons(n)",
    "make_circles": "nl.datasets.circles(n)",
    "make_blobs": "nl.datasets.blobs(n)",
    "load_data": "nl.datasets.mnist()",
}

MODE = "a training step trains and predict does not; in a loop of your own, net.forward(x, training=True) does"
ATTRIBUTES: dict[str, dict[str, str]] = {  # class -> attribute -> what it is here
    "Sequential": {
        "compile": 'trainer = nl.Trainer(net, loss="cce", optimizer="adam", metrics=["accuracy"])',
        "fit": 'nl.Trainer(net, loss="cce").fit(x, y, epochs=10)',
        "evaluate": "trainer.evaluate(x, y) of the nl.Trainer",
        "train_on_batch": "trainer.step(x, y) of the nl.Trainer",
        "test_on_batch": "trainer.evaluate(x, y) of the nl.Trainer",
        "predict_on_batch": "net.predict(x)",
        "score": 'trainer.evaluate(x, y)["accuracy"] of the nl.Trainer; nl.MLPClassifier has score',
        "optimize": 'nl.Trainer(net, "mse", nl.SGD(lr=0.5)).fit(x, y, epochs=10, batch_size=4)',
        "visualize": "nl.plots.network(net)",
        "details": "net.summary()",
        "predict_classes": "net.predict(x).argmax(axis=1)",
        "predict_proba": "net.predict(x), if the network ends in Softmax or Sigmoid",
        "train": MODE,
        "eval": MODE,
        "add": "nl.Sequential(net, nl.ReLU()), with a copy of net: a network's layers stay the same",
        "append": "nl.Sequential(net, nl.ReLU()), with a copy of net: a network's layers stay the same",
        "add_module": "nl.Sequential(net, nl.ReLU()), with a copy of net: a network's layers stay the same",
        "pop": "nl.Sequential(*copy.deepcopy(net.layers[:-1])): a network's layers stay the same",
        "children": "net.layers",
        "modules": "net.layers",
        "named_parameters": "net.state_dict()",
        "named_modules": "net.layers",
        "get_layer": "net.layers[0], by the layer's place",
        "apply": "a loop over net.layers; first weights are drawn as init= of nl.Dense and nl.mlp says",
        "weights": "net.parameters, one flat array, or net.state_dict() by name",
        "params": "net.parameters, one flat array, or net.state_dict() by name",
        "plot": "nl.plots.network(net)",
        "trainable_weights": "net.parameters, one flat array, or net.state_dict() by name",
        "get_weights": 'net.state_dict(), or net.state_dict(layout="keras")',
        "set_weights": 'net.load_state_dict(weights, layout="keras")',
        "count_params": "net.parameters.size, which net.summary() shows for each layer",
        "num_parameters": "net.parameters.size, which net.summary() shows for each layer",
        "zero_grad": "nothing: every step of a Trainer has new gradients",
        "requires_grad_": "layer.trainable = False for each layer",
        "trainable": "layer.trainable, of each layer",
        "training": MODE,
        "cuda": 'net.to("cuda")',
        "cpu": 'net.to("cpu")',
        "float": 'net.to(dtype="float32")',
        "double": 'net.to(dtype="float64")',
        "half": "not there: networks are float32 or float64",
        "to_json": "net.save(path), and nl.load(path)",
        "get_config": "repr(net), or net.save(path)",
        "save_weights": "net.save(path)",
        "load_weights": "nl.load(path), or nl.load(path, like=net) for files of other programs",
        "save_model_weights": "net.save(path)",
        "load_model_weights": "nl.load(path)",
        "coefs_": "[layer.W for layer in net.layers if hasattr(layer, 'W')]; nl.MLPClassifier has coefs_",
        "intercepts_": "[layer.b for layer in net.layers if hasattr(layer, 'b')]; nl.MLPClassifier has intercepts_",
        "n_layers_": "len(net.layers); nl.MLPClassifier has n_layers_",
        "classes_": "0, 1, … as the labels; nl.MLPClassifier has classes_ for any labels",
        "input_shape": "net.inputs, the number of columns",
        "output_shape": "net.outputs, the number of columns",
    },
    "Trainer": {
        "predict": "trainer.network.predict(x)",
        "plot": "trainer.history.plot()",
        "summary": "trainer.network.summary()",
        "model": "trainer.network",
        "net": "trainer.network",
        "compile": "not needed: loss, optimizer and metrics are arguments of nl.Trainer",
        "score": "trainer.evaluate(x, y)",
        "validate": "trainer.evaluate(x, y)",
        "train_on_batch": "trainer.step(x, y)",
        "test_on_batch": "trainer.evaluate(x, y)",
        "partial_fit": "trainer.fit(x, y, epochs=1), which goes on where the last fit ended",
        "stop_training": "trainer.stop()",
        "should_stop": "trainer.stop()",
        "lr": "trainer.optimizer.lr",
        "learning_rate": "trainer.optimizer.lr",
        "train": "trainer.fit(x, y)",
        "test": "trainer.evaluate(x, y)",
    },
    "History": {
        "predict": "trainer.network.predict(x): fit returns the history",
        "fit": "trainer.fit(x, y), which goes on where the last fit ended: it returns the history",
        "evaluate": "trainer.evaluate(x, y): fit returns the history",
        "loss": 'history["loss"], a value for each epoch',
        "val_loss": 'history["val_loss"], a value for each epoch',
        "accuracy": 'history["accuracy"], a value for each epoch',
        "history": 'the history itself, such as history["loss"]',
        "epoch": "range(history.epochs)",
        "params": "the arguments that fit was given",
    },
    "Moving": {
        "param_groups": "optimizer.lr, and lr_factors={layer: factor} for a rate for each layer",
        "state_dict": "trainer.save(path), with weights and everything else that training needs",
        "load_state_dict": "nl.Trainer.load(path)",
        "zero_grad": "nothing: every step of a Trainer has new gradients",
        "step": "trainer.step(x, y), which computes the gradients, too",
        "learning_rate": "optimizer.lr",
        "clipnorm": "optimizer.clip_norm",
        "clipvalue": "optimizer.clip_value",
    },
    "Adam": {
        "betas": "optimizer.beta1 and optimizer.beta2",
        "beta_1": "optimizer.beta1",
        "beta_2": "optimizer.beta2",
        "eps": "optimizer.epsilon",
    },
    "Layer": {
        "weight": "layer.W (inputs, outputs), the transpose of PyTorch's",
        "weights": "layer.W and layer.b",
        "kernel": "layer.W (inputs, outputs)",
        "grad": "layer.dW and layer.db",
        "get_weights": "layer.W and layer.b",
        "set_weights": "layer.W = … and layer.b = …",
        "name": "not there: state_dict names layers by their place, such as '0.W'",
        "units": "layer.outputs",
        "in_features": "layer.inputs",
        "out_features": "layer.outputs",
        "requires_grad_": "layer.trainable = False",
        "requires_grad": "layer.trainable",
        "input_shape": "layer.inputs",
        "output_shape": "layer.outputs",
    },
}

LAYER = {  # arguments of every layer
    "units": "it is outputs=, beside inputs=: nl.Dense(4, 8)",
    "in_features": "it is inputs=",
    "out_features": "it is outputs=",
    "num_features": "it is inputs=",
    "normalized_shape": "it is inputs=, a number",
    "input_dim": "it is inputs=",
    "input_shape": "it is inputs=, a number",
    "activation": "it is a layer of its own: nl.Dense(4, 8), nl.ReLU()",
    "use_bias": "it is bias=",
    "kernel_initializer": "it is init=",
    "bias_initializer": "it is bias_init=",
    "kernel_regularizer": "it is weight_decay= or l1= of the optimizer",
    "eps": "it is epsilon=",
    "elementwise_affine": "it is affine=",
    "p": "it is rate=",
    "stddev": "it is deviation=",
    "negative_slope": "it is slope=",
    "alpha": "it is slope= of nl.LeakyReLU, and alpha= of nl.ELU",
    "approximate": 'nl.GELUTanh() is that with "tanh"',
    "dim": "every layer works along the columns of each row",
    "axis": "every layer works along the columns of each row",
    "inplace": "a recorded step keeps no more results than it needs",
    "name": "state_dict names layers by their place, such as '0.W'",
}

LOSS = {  # arguments of every loss
    "weight": "it is class_weight={label: weight} of fit, and sample_weight= for rows",
    "pos_weight": "it is class_weight={0: 1, 1: weight} of fit",
    "ignore_index": "it is ignore_nan=True, and a label of NaN",
    "size_average": "it is reduction=",
    "reduce": "it is reduction=",
    "beta": "it is delta= of nl.Huber, which is beta times that loss",
    "log_input": "it is an argument of nl.Poisson",
}

SCHEDULE = {  # arguments of every schedule
    "optimizer": "a schedule takes the place of a number: nl.SGD(lr=nl.schedules.Cosine(0.1, 20))",
    "initial_learning_rate": "it is lr=",
    "max_lr": "it is lr=",
    "base_lr": "it is lr=",
    "T_max": "it is length=",
    "T_0": "it is length=, with restarts=True",
    "T_mult": "it is growth=, with restarts=True",
    "eta_min": "it is end=",
    "total_steps": "it is length=",
    "total_iters": "it is length=",
    "decay_steps": "it is length=, or every= of nl.schedules.StepDecay",
    "step_size": "it is every=",
    "milestones": "it is every=, which may be a list",
    "gamma": "it is factor=",
    "decay_rate": "it is factor=",
    "warmup_steps": "it is warmup=",
    "last_epoch": "a schedule goes on where the last fit ended",
}

MLP = {  # arguments of nl.mlp
    "activation": "it is hidden=, and output= for the last layer",
    "activations": 'it is hidden=["relu", "tanh"], a name for each hidden layer, and output= for the last layer',
    "hidden_layer_sizes": "it is sizes, the first argument: nl.mlp([inputs, 100, outputs])",
    "hidden_sizes": "it is sizes, the first argument: nl.mlp([inputs, 100, outputs])",
    "layers": "it is sizes, the first argument: nl.mlp([inputs, 100, outputs])",
    "units": "it is sizes, the first argument: nl.mlp([inputs, 100, outputs])",
    "output_activation": "it is output=",
    "final_activation": "it is output=",
    "bias": "it is bias= of nl.Dense, in nl.Sequential; batch_norm=True leaves those before a BatchNorm out",
    "last_activation": "it is output=",
    "dropout_rate": "it is dropout=",
    "batchnorm": "it is batch_norm=",
    "random_state": "it is seed=",
    "kernel_initializer": "it is init=",
    "loss": "it is an argument of nl.Trainer",
    "optimizer": "it is an argument of nl.Trainer",
}

CALLBACK = {  # methods that a callback overwrites
    "on_train_begin": "begin(self, trainer)",
    "on_fit_start": "begin(self, trainer)",
    "on_train_start": "begin(self, trainer)",
    "on_epoch_begin": "after_epoch(self, trainer, epoch) of the epoch before; begin(self, trainer) before the first",
    "on_train_epoch_start": "after_epoch(self, trainer, epoch) of the epoch before",
    "on_epoch_end": "after_epoch(self, trainer, epoch); trainer.history has what was measured",
    "on_train_epoch_end": "after_epoch(self, trainer, epoch); trainer.history has what was measured",
    "on_validation_epoch_end": "after_epoch(self, trainer, epoch); trainer.history has what was measured",
    "on_train_end": "end(self, trainer)",
    "on_fit_end": "end(self, trainer)",
    "on_batch_begin": "there are no looks between batches, which the device trains without Python",
    "on_batch_end": "there are no looks between batches, which the device trains without Python",
    "on_train_batch_begin": "there are no looks between batches, which the device trains without Python",
    "on_train_batch_start": "there are no looks between batches, which the device trains without Python",
    "on_train_batch_end": "there are no looks between batches, which the device trains without Python",
}

ESTIMATOR = {  # arguments of estimators
    "epochs": "it is max_iter=",
    "lr": "it is learning_rate_init=",
    "seed": "it is random_state=",
    "hidden": "it is activation=",
    "layers": "it is hidden_layer_sizes=",
    "sizes": "it is hidden_layer_sizes=",
}

PERCEPTRON = ESTIMATOR | {"optimizer": "it is solver=, a name or an optimizer"}

SPLIT = {  # arguments of nl.datasets.split
    "test_size": "it is test=, a fraction; in that order come x_train, y_train, x_test, y_test",
    "train_size": "it is test=, the fraction of the others; in that order come x_train, y_train, x_test, y_test",
    "random_state": "it is seed=",
    "shuffle": "it always shuffles",
}

TRAINER = {  # arguments of a Trainer
    "scheduler": "a schedule takes the place of a number: nl.SGD(lr=nl.schedules.Cosine(0.1, 20))",
    "callbacks": "it is an argument of fit",
    "epochs": "it is an argument of fit",
    "batch_size": "it is an argument of fit",
    "validation_data": "it is an argument of fit",
    "learning_rate": "it is an argument of the optimizer: optimizer=nl.Adam(lr=0.001)",
    "lr": "it is an argument of the optimizer: optimizer=nl.Adam(lr=0.001)",
    "criterion": "it is loss=",
    "model": "it is the first argument, network",
    "device": "it is an argument of the network: nl.mlp([4, 8, 2], device=…)",
}


class Answering:
    """An object that answers attributes which it would have elsewhere, and arguments of its constructors.

    To set such an attribute is refused, too, since nothing would follow from it; a subclass of the user's may have it.
    """

    _arguments: Mapping[str, str] = NONE
    _usage = ""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "__init__" in vars(cls) and cls._arguments:
            init = answered(cls._arguments, usage=cls._usage)(vars(cls)["__init__"])
            cls.__init__ = init  # type: ignore[method-assign]

    if not TYPE_CHECKING:  # or any name would be taken for an attribute

        def __getattr__(self, name: str) -> Any:
            _refuse(self, name)
            return super().__getattribute__(name)  # raises the error that it has raised before

        def __setattr__(self, name: str, value: Any) -> None:
            refuse_setting(self, name)
            super().__setattr__(name, value)


def _refuse(thing: Any, name: str) -> None:
    """AttributeError for an attribute that such a thing has elsewhere."""
    for each in type(thing).__mro__:
        if name in ATTRIBUTES.get(each.__name__, ()):
            told = ATTRIBUTES[each.__name__][name]
            raise AttributeError(f"{type(thing).__name__} has no attribute {name}; {in_nnlite(told)}", name=name)


def refuse_setting(thing: Any, name: str, value: Any = None) -> None:
    """The same before it is set, unless the thing is the user's own, or has such an attribute."""
    if name in _ELSEWHERE and _is_ours(type(thing)) and not hasattr(type(thing), name):
        _refuse(thing, name)
    if name == "bias" and type(vars(thing).get(name)) is bool and type(value) is not bool:
        raise TypeError(f"{type(thing).__name__}.bias says whether there is one; its numbers are layer.b")


def _is_ours(kind: type) -> bool:
    return kind.__module__.partition(".")[0] == __package__


_ELSEWHERE = frozenset(name for names in ATTRIBUTES.values() for name in names)


def not_called(told: str) -> Callable[..., NoReturn]:
    """The __call__ of a class whose objects are called elsewhere."""

    def fail(self: Any, *_: Any, **__: Any) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} is not called; {in_nnlite(told)}")

    return fail


class Row:
    """A row of layers, which can be counted, looped over and indexed."""

    layers: Any
    __call__ = not_called("net.predict(x), or net.forward(x) before net.backward(dy)")

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.layers)

    def __getitem__(self, index: Any) -> Any:
        return self.layers[index]


def missing(module: str) -> Callable[[str], NoReturn]:
    """The __getattr__ of a module, for names that it would have elsewhere."""

    def fail(name: str) -> NoReturn:
        package = sys.modules[__package__]
        inside = f"{module.rpartition('.')[2]}.{name}"
        known = NAMES.get(inside) or NAMES.get(name) or (name in package.__all__ and f"nl.{name}")
        there = dir(sys.modules[module])
        near = [each for each in there if each.lower() == name.lower()]
        near = near or difflib.get_close_matches(name, there, 1, 0.75)
        hint = f"; {in_nnlite(known)}" if known else f"; there is {near[0]!r}" if near else ""
        raise AttributeError(f"module {module!r} has no attribute {name!r}{hint}", name=name)

    return fail


def in_nnlite(told: str) -> str:
    return f"in nnlite: {told}"


def answered(
    arguments: Mapping[str, str], aliases: Mapping[str, str] = NONE, usage: str = ""
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator: a function that gets one of these arguments raises a TypeError that says what is there instead.

    An alias is another name of one of the function's own arguments. `usage` is told where arguments do not fit at all.
    """

    def wrap(function: Callable[P, R]) -> Callable[P, R]:
        def of(given: tuple[Any, ...]) -> str:
            return type(given[0]).__name__ if function.__name__ == "__init__" else function.__name__

        @functools.wraps(function)
        def call(*given: P.args, **named: P.kwargs) -> R:
            __tracebackhide__ = True  # IPython and pytest leave this frame out
            known: Any = named
            for name in aliases.keys() & known.keys():
                if aliases[name] in known:
                    raise TypeError(f"{of(given)} got both {name} and {aliases[name]}, which are the same")
                known[aliases[name]] = known.pop(name)
            try:
                return function(*given, **known)
            except TypeError:
                try:
                    inspect.signature(function).bind(*given, **known)
                except TypeError as error:
                    for name in known:
                        if name in arguments and name not in inspect.signature(function).parameters:
                            raise TypeError(f"{of(given)} has no argument {name}: {arguments[name]}") from None
                    raise TypeError(f"{of(given)}: {error}{usage and f'; {usage}'}") from None
                raise

        return call

    return wrap
