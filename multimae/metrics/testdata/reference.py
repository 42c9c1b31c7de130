"""Writes reference.json: predictions, and what scikit-learn and NumPy make of them.

    pip install scikit-learn==1.9.1 && python reference.py > reference.json
"""
import json
import warnings

import numpy as np
from sklearn import metrics as sk
from sklearn.linear_model import LinearRegression

warnings.filterwarnings("ignore")
rng = np.random.default_rng(0)


def percent(x):
    return 100 * float(x)


def segmentation(classes, absent, only_predicted, pixels):
    """A map whose truth lacks some classes, some of which are predicted nevertheless."""
    have = [k for k in range(classes) if k not in absent + only_predicted]
    truth = rng.choice(have, pixels)
    pred = np.where(rng.random(pixels) < 0.6, truth, rng.choice(have + only_predicted, pixels))
    truth[rng.random(pixels) < 0.1] = 255
    keep = truth != 255
    t, p = truth[keep], pred[keep]
    present = sorted(set(t) | set(p))
    return {
        "classes": classes,
        "truth": truth.tolist(),
        "pred": pred.tolist(),
        "confusion": sk.confusion_matrix(t, p, labels=range(classes)).ravel().tolist(),
        "iou": dict(zip(map(str, present), map(percent, sk.jaccard_score(t, p, labels=present, average=None)))),
        "miou": percent(sk.jaccard_score(t, p, labels=present, average="macro")),
        "accuracy": percent(sk.accuracy_score(t, p)),
        "mean_accuracy": percent(sk.balanced_accuracy_score(t, p)),
    }


def depth_errors(p, t):
    ratio = np.maximum(p / t, t / p)
    return {
        "rmse": float(np.sqrt(sk.mean_squared_error(t, p))),
        "abs_rel": float(sk.mean_absolute_percentage_error(t, p)),
        "log10": float(sk.mean_absolute_error(np.log10(t), np.log10(p))),
        "delta": [percent(np.mean(ratio < 1.25**k)) for k in (1, 2, 3)],
    }


def fit(x, y):
    x = x[:, None]
    return LinearRegression().fit(x, y).predict(x)


def depth(images, pixels):
    truth = rng.uniform(0.5, 10, (images, pixels)).astype(np.float32)
    valid = rng.random((images, pixels)) < 0.8
    near = 0.001
    metric = (truth * rng.lognormal(0, 0.25, truth.shape)).astype(np.float32)
    metric[0, :3] = [-1, 0, 1e-5]
    relative = (0.3 * truth - 2 + rng.normal(0, 0.2, truth.shape)).astype(np.float32)
    disparity = (4 / truth + 1 + rng.normal(0, 0.05, truth.shape)).astype(np.float32)

    def pooled(predict):
        p, t = [], []
        for i in range(images):
            v = valid[i]
            t.append(truth[i][v].astype(np.float64))
            p.append(predict(i, v, t[-1]))
        return depth_errors(np.concatenate(p), np.concatenate(t))

    f64 = np.float64
    return {
        "truth": truth.tolist(),
        "valid": valid.tolist(),
        "near": near,
        "none": {"pred": metric.tolist(), **pooled(lambda i, v, t: np.maximum(metric[i][v].astype(f64), near))},
        "depth": {
            "pred": relative.tolist(),
            **pooled(lambda i, v, t: np.maximum(fit(relative[i][v].astype(f64), t), near)),
        },
        "disparity": {
            "pred": disparity.tolist(),
            **pooled(lambda i, v, t: 1 / np.maximum(fit(disparity[i][v].astype(f64), 1 / t), 1e-6 / near)),
        },
    }


def top(images, classes):
    truth = np.concatenate([np.arange(classes), rng.integers(0, classes, images - classes)])
    logits = rng.normal(0, 1, (images, classes)).astype(np.float32)
    logits[np.arange(images), truth] += 1
    labels = range(classes)
    return {
        "truth": truth.tolist(),
        "logits": logits.ravel().tolist(),
        "top1": percent(sk.top_k_accuracy_score(truth, logits, k=1, labels=labels)),
        "top5": percent(sk.top_k_accuracy_score(truth, logits, k=5, labels=labels)),
    }


def values(n):
    truth, pred = rng.normal(0, 1, (2, n)).astype(np.float32).astype(np.float64)
    return {
        "truth": truth.tolist(),
        "pred": pred.tolist(),
        "l1": float(sk.mean_absolute_error(truth, pred)),
        "rmse": float(np.sqrt(sk.mean_squared_error(truth, pred))),
    }


def short(x):
    """float32 values in as few digits as identify them."""
    if isinstance(x, dict):
        return {k: v if k in ("rmse", "l1") else short(v) for k, v in x.items()}
    if isinstance(x, list):
        return [short(v) for v in x]
    if isinstance(x, float) and float(np.float32(x)) == x:
        return float(str(np.float32(x)))
    return x


print(json.dumps(short({
    "segmentation": {
        "all classes": segmentation(4, [], [], 300),
        "absent from truth": segmentation(7, [], [2, 6], 300),
        "absent from both": segmentation(9, [0, 5], [3], 300),
        "one class": segmentation(3, [1, 2], [], 40),
    },
    "depth": depth(3, 80),
    "top": top(60, 12),
    "values": values(60),
})))
