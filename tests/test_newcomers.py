"""What people type who come from Keras, PyTorch or scikit-learn: it works, or one line says what it is in nnlite."""

import copy
import re

import numpy as np
import pytest

import nnlite as nl

WORKS = """
Trainer(net, "MSE")
Trainer(net, "categorical_crossentropy")
Trainer(net, "sparse_categorical_crossentropy")
Trainer(net, "cross_entropy")
Trainer(net, "huber")
Trainer(net, "kl_divergence")
Trainer(net, "mean_squared_error")
Trainer(net, "cce", metrics=["acc"])
Trainer(net, "cce", metrics=["auc"])
Trainer(net, "cce", metrics=["f1", "precision", "recall"])
Trainer(net, "cce", optimizer="adamw")
Trainer(net, "cce", optimizer="rmsprop")
Trainer(net, "cce", optimizer="Adam")
trainer.fit(x, y, epochs=1, callbacks=[], verbose=0)
trainer.fit(x, y, epochs=1, class_weight={0: 1, 1: 2}, progress=False)
trainer.fit(x, y, epochs=1, sample_weight=np.ones(len(x)), progress=False)
trainer.fit(x, y, epochs=1, validation_split=0.1, progress=False)
len(net), net[0], net[-1], list(net), [layer for layer in net]
net.layers[0].trainable
net.parameters.size
nl.Sequential([nl.Dense(4, 8), nl.ReLU()])
nl.Linear(4, 8)
nl.mlp([4, 8, 2], hidden="swish")
nl.mlp([4, 8, 2], hidden="leaky_relu")
nl.Dense(4, 8, init="kaiming_uniform")
nl.MLPClassifier(hidden_layer_sizes=(8,)), nl.MLPRegressor()
nl.EarlyStopping(patience=5, restore_best_weights=True)
net.load_state_dict(net.state_dict() | {"0.b": np.ones(8)})
nl.ReduceLROnPlateau(), nl.TensorBoard(log_dir="logs"), nl.CSVLogger(filename="log.csv")
nl.Adagrad(), nl.AdamW(), nl.RMSprop(), nl.BatchNorm(8), nl.LayerNorm(8), nl.PReLU(), nl.GELU(), nl.Huber()
""".strip().splitlines()

ANSWERED = {  # expression -> what the error says
    "trainer.evaluate(x, y)['accurracy']": "but no 'accurracy': metrics are named to nl.Trainer",
    "nl.datasets.moon()": "has no attribute 'moon'; there is 'moons'",
    "Trainer(net, 'bce').fit(x, np.ones((len(x), 2)))": "does not sum to 1 as a one-hot row does; for several labels",
    "Trainer(net, nl.SGD(lr=0.1), 'cce')": 'the loss comes before the optimizer: nl.Trainer(net, "mse", SGD(lr=0.1))',
    "Trainer(net, 'cce', callbacks=[])": "Trainer has no argument callbacks: it is an argument of fit",
    "Trainer(net, 'cce', metrics='accuracy')": 'must be a list such as ["accuracy"]',
    "Trainer(nl.mlp([4, 8, 1], output='sigmoid'), 'cce')": "use BinaryCrossEntropy",
    "trainer.fit((x, y), progress=False)": "must be a pair (x, y)",
    "trainer.fit(x, y, nEpochs=3)": "fit has no argument nEpochs: it is epochs=",
    "trainer.fit(x, y, batchSize=3)": "fit has no argument batchSize: it is batch_size=",
    "trainer.fit([(x, y)], validation_data=[(x, y)])": "evaluate and validation_data take arrays x and y; a generator",
    "trainer.evaluate([(x, y)])": "missing a required argument: 'y'; evaluate and validation_data take arrays",
    "trainer.fit(x, y, callbacks=[nl.EarlyStopping('mse')], progress=False)": "this fit: it is the square of 'rmse'",
    "trainer.fit(x, y, callbacks=[nl.EarlyStopping('val_acc')], progress=False)": "in this fit; there is 'loss'",
    "trainer.fit(x, y, epochs=1, batch_size=None)": "batch_size must be a whole number",
    "trainer.fit(x, y, epochs=1, progress=False).history": 'the history itself, such as history["loss"]',
    "trainer.fit(x, y, epochs=1, progress=False).epoch": "range(history.epochs)",
    "trainer.fit(x, y, epochs=1, progress=False).predict(x)": "in nnlite: trainer.network.predict(x): fit returns the",
    "trainer.fit(x, y, epochs=1, progress=False).loss": 'in nnlite: history["loss"], a value for each epoch',
    "trainer.fit(x, y, epoch=1)": "fit has no argument epoch: it is epochs=",
    "trainer.fit(x, y, batch=8)": "fit has no argument batch: it is batch_size=",
    "trainer.fit(nl.datasets.moons(), y)": "x is a pair, so x, y = … takes it apart",
    "trainer.fit(x, y + 1, progress=False)": "labels are whole numbers 0 … 1; these begin at 1: subtract 1",
    "trainer.fit(x, x[:3], progress=False)": "nl.datasets.split gives x_train, y_train, x_test, y_test",
    "trainer.plot()": "in nnlite: trainer.history.plot()",
    "nl.MLPClassifier(epochs=10)": "MLPClassifier has no argument epochs: it is max_iter=",
    "nl.TableRegressor(seed=1)": "TableRegressor has no argument seed: it is random_state=",
    "nl.Relu": "module 'nnlite' has no attribute 'Relu'; there is 'ReLU'",
    "nl.set_random_seed(0)": "in nnlite: seed=0 of nl.mlp or nl.Sequential",
    "trainer.fit(x[:, :3], y, progress=False)": "the network reads 4 columns",
    "trainer.model": "in nnlite: trainer.network",
    "Trainer(net, lambda p, t: 0)": "a kernel, not <function <lambda>",
    "Trainer(net, nl.MSE)": "write MSE()",
    "nl.Checkpoint('net.{epoch:02d}.safetensors')": "has {epoch:02d}, but only {epoch} is replaced",
    "nl.Checkpoint('{epoch}-{val_loss:.2f}.safetensors')": "has {val_loss:.2f}, but only {epoch} is replaced",
    "nl.mlp()": "mlp: missing a required argument: 'sizes'; nl.mlp([4, 8, 2])",
    "nl.nn_optimize_fast": 'nl.Trainer(net, "mse", nl.SGD(lr=0.5)).fit(x, y, epochs=10, batch_size=4)',
    "nl.visualize": "in nnlite: nl.plots.network(net)",
    "nl.Dropout(p=0.5)": "Dropout has no argument p: it is rate=",
    "nl.Softmax(dim=1)": "Softmax has no argument dim: every layer works along",
    "nl.ReLU(inplace=True)": "ReLU has no argument inplace",
    "nl.LeakyReLU(negative_slope=0.1)": "LeakyReLU has no argument negative_slope: it is slope=",
    "nl.BatchNorm(8, eps=1e-3)": "BatchNorm has no argument eps: it is epsilon=",
    "nl.Tanh(axis=1, zap=2)": "Tanh has no argument axis",
    "nl.Tanh(zap=2)": "Tanh: got an unexpected keyword argument 'zap'",
    "nl.Tanh(2)": "Tanh: too many positional arguments",
    "nl.CategoricalCrossEntropy(weight=[1, 2])": "CategoricalCrossEntropy has no argument weight: it is class_weight=",
    "nl.BinaryCrossEntropy(pos_weight=2)": "it is class_weight={0: 1, 1: weight} of fit",
    "nl.MSE(size_average=True)": "MSE has no argument size_average: it is reduction=",
    "nl.RMSprop(alpha=0.9)": "it is rho= of nl.RMSprop",
    "nl.schedules.Cosine(0.1, T_max=10)": "Cosine has no argument T_max: it is length=",
    "nl.schedules.StepDecay(0.1, step_size=3, gamma=0.1)": "StepDecay has no argument step_size: it is every=",
    "net.predict(np.ones((3, 2, 2)))": "each sample as a row is x.reshape(len(x), -1)",
    "Trainer(net, 'cce', metrics=[lambda y, p: None]).evaluate(x, y)": "<lambda> must give a number, not None",
    "net(x)": "in nnlite: net.predict(x), or net.forward(x) before net.backward(dy)",
    "Trainer(net, 'cce', nl.Adam)": "nnlite.optimizers.Adam'> is not known: it is 'adam'. Or choose one of 'sgd'",
    "nl.mlp([4, 8, 2], hidden=nl.ReLU)": "hidden=<class 'nnlite.activations.ReLU'> is not known: it is 'relu'. Or",
    "nl.mlp([4, 8, 2], output=nl.Softmax)": "nnlite.activations.Softmax'> is not known: it is 'softmax'. Or",
    "nl.mlp([4, 8, 2], hidden=nl.Dropout(0.1))": "hidden=Dropout(rate=0.1) is not known",
    "nl.mlp([4, 8, 2], final_activation='relu')": "mlp has no argument final_activation: it is output=",
    "nl.mlp([4, 8, 2], init='random_uniform')": "it is nl.initializers.uniform(-0.05, 0.05), with Keras's limits",
    "Trainer(net, 'cce', 'lbfgs')": 'it is trainer.minimize(x, y, method="lbfgs")',
    "Trainer(net, 'cce', metrics=[nl.MSE()])": "metric=MSE() is a loss, and a metric is one of 'accuracy'",
    "Trainer(net, 'cce', scheduler=None)": "a schedule takes the place of a number",
    "Trainer(nl.mlp([4, 8, 1], output='exponential'), 'poisson')": "from the network's end, or take log_input=False",
    "net.layers[0](x)": "a Dense is not called; in nnlite: layer.forward(x)",
    "nl.MSE()(x, x)": "a MSE is not called; in nnlite: loss.forward(prediction, target)",
    "nl.datasets.split(x, y, test_size=0.2)": "it is test=, a fraction; in that order come x_train, y_train, x_test",
    "nl.Parameter(x)": "of an nl.Layer of your own",
    "nl.metrics.MeanSquaredError()": "in nnlite: nl.metrics.RootMeanSquaredError(), its root",
    "nl.metrics.F1Score()": "in nnlite: nl.metrics.F1()",
    "nl.mlp([4, 8, 2], output=None)": "output=None is not known; choose one of 'identity'",
    "nl.mlp([4, 8, 2], activation='relu')": "mlp has no argument activation: it is hidden=",
    "nl.mlp(hidden_layer_sizes=(8,))": "it is sizes, the first argument",
    "nl.MLPRegressor((16, 16)).fit(x, y)": "the hidden layers are hidden_layer_sizes=(16, 16)",
    "type('K', (nl.Callback,), {'on_epoch_end': print})": "K.on_epoch_end; in nnlite: after_epoch(self, trainer, e",
    "trainer.predict(x)": "in nnlite: trainer.network.predict(x)",
    "trainer.compile('adam')": "arguments of nl.Trainer",
    "trainer.optimizer.param_groups": "in nnlite: optimizer.lr",
    "trainer.optimizer.state_dict()": "in nnlite: trainer.save(path)",
    "trainer.optimizer.zero_grad()": "every step of a Trainer has new gradients",
    "trainer.optimizer.learning_rate": "in nnlite: optimizer.lr",
    "net.add_module('a', nl.ReLU())": "in nnlite: nl.Sequential(net, nl.ReLU())",
    "net.add(nl.ReLU())": "in nnlite: nl.Sequential(net, nl.ReLU())",
    "net.classes_": "nl.MLPClassifier has classes_",
    "net.coefs_": "nl.MLPClassifier has coefs_",
    "net.n_layers_": "len(net.layers)",
    "net.compile(optimizer='adam')": "in nnlite: trainer = nl.Trainer(net, ",
    "net.fit(x, y, epochs=1)": 'in nnlite: nl.Trainer(net, loss="cce").fit(x, y, epochs=10)',
    "net.evaluate(x, y)": "in nnlite: trainer.evaluate(x, y)",
    "net.predict_classes(x)": "in nnlite: net.predict(x).argmax(axis=1)",
    "net.predict_proba(x)": "in nnlite: net.predict(x)",
    "net.count_params()": "in nnlite: net.parameters.size",
    "net.get_weights()": 'net.state_dict(layout="keras")',
    "net.set_weights([])": 'net.load_state_dict(weights, layout="keras")',
    "net.load_state_dict({'0.weight': 1})": 'for PyTorch\'s names add layout="torch"',
    "net.load_state_dict({'dense/kernel': 1})": 'for Keras\'s names add layout="keras"',
    "net.load_state_dict({}, strict=False)": "load_state_dict has no argument strict: every name must be there",
    "nl.load('a', layout='torch')": "load has no argument layout: nl.load(path, like=net) reads a file with PyTorch's",
    "nl.load('a', map_location='cpu')": "load has no argument map_location: it is device=",
    "net.get_layer('dense')": "in nnlite: net.layers[0], by the layer's place",
    "net.apply(print)": "in nnlite: a loop over net.layers",
    "net.optimize(x, y, nEpochs=3)": 'in nnlite: nl.Trainer(net, "mse", nl.SGD(lr=0.5)).fit(x, y, epochs=10',
    "net.visualize()": "in nnlite: nl.plots.network(net)",
    "net.details()": "in nnlite: net.summary()",
    "net.save_model_weights('a')": "in nnlite: net.save(path)",
    "net.load_model_weights('a')": "in nnlite: nl.load(path)",
    "net.cuda()": 'in nnlite: net.to("cuda")',
    "net.cpu()": 'in nnlite: net.to("cpu")',
    "net.double()": 'in nnlite: net.to(dtype="float64")',
    "net.float()": 'in nnlite: net.to(dtype="float32")',
    "net.train()": "net.forward(x, training=True)",
    "net.eval()": "net.forward(x, training=True)",
    "net.zero_grad()": "every step of a Trainer has new gradients",
    "net.to_json()": "in nnlite: net.save(path)",
    "net.named_parameters()": "in nnlite: net.state_dict()",
    "net.layers[0].weight": "in nnlite: layer.W (inputs, outputs), the transpose of PyTorch's",
    "net.layers[0].weights": "in nnlite: layer.W and layer.b",
    "net.layers[0].kernel": "in nnlite: layer.W (inputs, outputs)",
    "net.layers[0].grad": "in nnlite: layer.dW and layer.db",
    "net.layers[0].name": "such as '0.W'",
    "nl.Adam(learning_rate=0.01)": "Adam has no argument learning_rate: it is lr=",
    "nl.Adam(lr=0.1, betas=(0.9, 0.99))": "it is beta1= and beta2=",
    "nl.SGD(net.parameters, lr=0.1)": "a Trainer hands it the network's parameters",
    "nl.Lion(net.parameters, lr=0.1)": "a Trainer hands it the network's parameters",
    "nl.Dense(8)": "nl.Dense(4, 8) has 4 inputs and 8 outputs",
    "nl.Dense(units=8)": "nl.Dense(4, 8)",
    "nl.Dense(4, 8, activation='relu')": "nl.Dense(4, 8), nl.ReLU()",
    "nl.Dense(4, 8, use_bias=False)": "it is bias=",
    "nl.Dense(4, 8, init='kaiming')": "'he_uniform' or 'he_normal'",
    "nl.Dense(4, 8, kernel_initializer='he_normal')": "it is init=",
    "nl.BCELoss()": "in nnlite: nl.BinaryCrossEntropy()",
    "nl.BCEWithLogitsLoss()": "in nnlite: nl.BinaryCrossEntropy(from_logits=True)",
    "nl.CrossEntropyLoss()": "in nnlite: nl.CategoricalCrossEntropy(from_logits=True)",
    "nl.MSELoss()": "in nnlite: nl.MSE()",
    "nl.L1Loss()": "in nnlite: nl.MAE()",
    "nl.BatchNorm1d(8)": "in nnlite: nl.BatchNorm(inputs)",
    "nl.BatchNormalization()": "in nnlite: nl.BatchNorm(inputs)",
    "nl.Embedding(10, 4)": "one-hot",
    "nl.Flatten()": "x.reshape(len(x), -1)",
    "nl.ModelCheckpoint('x')": "in nnlite: nl.Checkpoint(path)",
    "nl.CosineAnnealingLR": "in nnlite: nl.schedules.Cosine(lr, length)",
    "nl.lr_scheduler": "in nnlite: nl.schedules",
    "nl.DataLoader": "which makes and shuffles the batches",
    "nl.Module": "in nnlite: nl.Sequential",
    "nl.models.Sequential": "in nnlite: nl.Sequential",
    "nl.nn.Linear(4, 8)": "such as nl.Dense",
    "nl.Tensor": "an array of NumPy or CuPy",
    "nl.no_grad()": "in nnlite: net.predict(x)",
    "nl.device('cpu')": 'net.to("cuda")',
    "nl.manual_seed(0)": "seed=0",
    "nl.clip_grad_norm_": "clip_norm=1.0",
    "nl.load_model('a')": "in nnlite: nl.load(path)",
    "nl.train_test_split(x, y)": "in nnlite: nl.datasets.split(x, y, test=0.25)",
    "nl.utils.to_categorical(y)": "labels may be whole numbers",
    "nl.utils.plot_model(net)": "nl.plots.network(net) is plot_model",
    "nl.regularizers.l2(0.01)": "weight_decay= and l1= of every optimizer",
    "nl.init.kaiming_normal_": 'in nnlite: init="he_normal" of nl.Dense and nl.mlp',
    "nl.autograd.grad": "in nnlite: net.forward(x) and net.backward(dy)",
    "nl.ModuleList([])": "in nnlite: nl.Sequential",
    "nl.clone_model(net)": "in nnlite: net.copy()",
    "nl.callbacks.TerminateOnNaN()": "fit raises nl.DivergedError",
    "nl.data.DataLoader": "nl.Trainer(net).fit(x, y, batch_size=32) makes the batches",
    "nl.keras.layers.Dense": "such as nl.Sequential and nl.Dense",
    "nl.loss.MSE_loss": "in nnlite: nl.MSE()",
    "nl.activation.Sigmoid": "in nnlite: nl.Sigmoid",
    "nl.network.nn_model(2, [3, 1])": "in nnlite: nl.mlp([2, 3, 1]",
    "nl.backend": "nl.get_device().ops",
    "nl.layers.Input": "nl.Dense(4, 8)",
    "nl.losses.CategoricalCrossentropy()": "in nnlite: nl.CategoricalCrossEntropy()",
    "nl.losses.SparseCategoricalCrossentropy()": "in nnlite: nl.CategoricalCrossEntropy()",
    "nl.optimizers.RMSprop()": "in nnlite: nl.RMSprop",
    "nl.metrics.accuracy_score(y, y)": "trainer.evaluate(x, y)",
    "nl.metrics.classification_report": "in nnlite: nl.metrics",
    "nl.datasets.load_iris()": "in nnlite: nl.datasets.iris()",
    "nl.mlp([4, 8, 2], device='tpu')": "choose one of 'numpy', 'numba', 'cupy'",
    "nl.mlp([4, 8, 2], dtype='float16')": "choose 'float32' or 'float64'",
    "nl.mlp([4, 8, 2], output='logits')": "a loss with from_logits=True",
}


@pytest.fixture
def names(empty_folder):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((32, 4)).astype(np.float32)
    net = nl.mlp([4, 8, 2], output="softmax", device="numpy", seed=0)
    trainer = nl.Trainer(net, "cce", nl.SGD(lr=0.1))
    return {"x": x, "y": np.arange(32) % 2, "net": net, "trainer": trainer, "nl": nl, "np": np, "Trainer": nl.Trainer}


@pytest.mark.parametrize("code", WORKS)
def test_what_works_as_elsewhere(code, names):
    eval(code, names)


@pytest.mark.parametrize("code", ANSWERED)
def test_what_is_answered(code, names):
    with pytest.raises((AttributeError, KeyError, TypeError, ValueError), match=re.escape(ANSWERED[code])) as caught:
        eval(code, names)
    assert "\n" not in str(caught.value)


def test_an_argument_of_ones_own_may_have_such_a_name():
    class Scaled(nl.Adam):
        def __init__(self, lr=0.001, betas=(0.9, 0.99)):
            super().__init__(lr, *betas)
            self.betas = betas

    class Gate(nl.Layer):
        def __init__(self, units, alpha=0.5):
            super().__init__()
            self.units, self.alpha = units, alpha

    assert (Scaled(betas=(0.5, 0.6)).beta2, Gate(units=3, alpha=0.1).alpha) == (0.6, 0.1)
    with pytest.raises(TypeError, match=r"Scaled has no argument learning_rate: it is lr="):
        Scaled(learning_rate=0.1)


def test_answers_name_what_there_is(names):
    """An answer that begins with a name of ours: it is there."""
    told = [*nl.elsewhere.NAMES.values(), *(each for of in nl.elsewhere.ATTRIBUTES.values() for each in of.values())]
    paths = [each for text in told for each in re.finditer(r"\b(nl|net|trainer|optimizer|layer|history)(\.\w+)+", text)]
    names |= {"optimizer": nl.Adam(), "layer": names["net"][0], "history": nl.History()}
    names["net"].backpropagate(names["net"].propagate(names["x"]))
    for path in paths:
        eval(path[0], names)
    assert len(paths) > 100
    made = [text for text in nl.elsewhere.ATTRIBUTES["Sequential"].values() if text.startswith("nl.Sequential(")]
    for text in made:
        other = eval(re.split(", with|: a", text)[0], names | {"copy": copy})
        assert np.isin(other.parameters, names["net"].parameters).all()
    assert len(made) == 4
    assert not [name for name in nl.elsewhere.NAMES if hasattr(nl, name)]
