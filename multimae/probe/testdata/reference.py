"""Writes reference.json: features, and what scikit-learn's classifiers make of them.

    pip install scikit-learn==1.9.1 && python reference.py > reference.json
"""
import json

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

rng = np.random.default_rng(1)
classes, dim, neighbours, temperature = 4, 6, 20, 0.07
scale, offset = rng.uniform(0.1, 20, dim), rng.uniform(-30, 30, dim)
means = rng.normal(0, 1, (classes, dim))


def draw(n):
    y = rng.permutation(np.arange(n) % classes)
    return ((means[y] + rng.normal(0, 1, (n, dim))) * scale + offset).astype(np.float32), y


x, y = draw(80)
xval, _ = draw(30)
scaler = StandardScaler().fit(x.astype(np.float64))
z, zval = scaler.transform(x.astype(np.float64)), scaler.transform(xval.astype(np.float64))
linear = {}
for l2 in (1, 0.1, 0.01, 0.001):
    m = LogisticRegression(C=1 / (l2 * len(y)), tol=1e-12, max_iter=100000).fit(z, y)
    linear[str(l2)] = {
        "weight": m.coef_.ravel().tolist(),
        "bias": (m.intercept_ - m.intercept_.mean()).tolist(),
        "predicted": m.predict(zval).tolist(),
    }
knn = KNeighborsClassifier(neighbours, metric="cosine", weights=lambda d: np.exp((1 - d) / temperature)).fit(x, y)
print(json.dumps({
    "classes": classes,
    "dim": dim,
    "train": [float(str(v)) for v in x.ravel()],
    "labels": y.tolist(),
    "val": [float(str(v)) for v in xval.ravel()],
    "linear": linear,
    "votes": knn.predict_proba(xval).ravel().tolist(),
}))
