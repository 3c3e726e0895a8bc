"""Estimators: networks with the parameters, methods and attributes of scikit-learn's MLPClassifier and MLPRegressor;
and others, with the same methods, that take a table as it is.

scikit-learn is not imported here. It knows an estimator by its methods, so that those here work in its pipelines and
searches.
"""

from .classifier import MLPClassifier as MLPClassifier
from .regressor import MLPRegressor as MLPRegressor
from .table import TableClassifier as TableClassifier
from .table import TableRegressor as TableRegressor
