"""The paper's formulas in plain NumPy, one image at a time; imports nothing from the project."""

import numpy as np

# ---- distances and metrics ----


def jaccard_distance(tags_x, tags_z):
    """Eq. 5 for two sets of tags; 1 where both are empty."""
    union = set(tags_x) | set(tags_z)
    return 1 - len(set(tags_x) & set(tags_z)) / len(union) if union else 1.0


def cosine_distance(x, z):
    """Eq. 7 in float64, rounded to 7 decimals; 1 where a vector is zero."""
    x, z = np.asarray(x, np.float64), np.asarray(z, np.float64)
    if not x.any() or not z.any():
        return 1.0
    distance = 1 - x @ z / (np.sqrt(x @ x) * np.sqrt(z @ z))
    return float(np.round(np.clip(distance, 0, 2), 7))


def nearest(distance, items, row, pool, M):
    """The M candidates with the smallest (distance, row number), never the image itself."""
    candidates = [(distance(items[row], items[z]), int(z)) for z in set(pool) - {row}]
    return sorted(candidates)[:M]


def ranking(scores):
    """Places from the highest score to the lowest; equal scores by place."""
    return sorted(range(len(scores)), key=lambda place: (-scores[place], place))


def average_precision(relevant, scores):
    """AP = Σ_j precision@j · rel_j / R."""
    hits, total = 0, 0.0
    for rank, place in enumerate(ranking(scores), start=1):
        if relevant[place]:
            hits += 1
            total += hits / rank
    return total / hits


def mean_average_precision(labels, scores, per):
    """The mean AP over the labels, or the images, that have a positive; and how many have none."""
    if per == "label":
        labels, scores = labels.T, scores.T
    values = [average_precision(y, s) for y, s in zip(labels, scores, strict=True) if y.any()]
    return sum(values) / len(values), len(labels) - len(values)


def precision_recall_at_k(labels, scores, k, per):
    """Mean precision, mean recall, how many lack a positive, how many labels nobody was given."""
    given = np.zeros(labels.shape, bool)
    for image, row in enumerate(scores):
        given[image, ranking(row)[:k]] = True
    if per == "label":
        labels, given = labels.T, given.T
    precisions, recalls, never_predicted = [], [], 0
    for truth, guess in zip(labels, given, strict=True):
        right = sum(1 for y, g in zip(truth, guess, strict=True) if y and g)
        if truth.any():
            recalls.append(right / truth.sum())
        if not guess.any():
            never_predicted += 1
        elif per == "label" or truth.any():
            precisions.append(right / guess.sum())
    left_out = len(labels) - len(recalls)
    return np.mean(precisions), np.mean(recalls), left_out, never_predicted


# --- the nine graphs (sections 3.2 and 3.3), one image at a time ---
#
# `w` maps a layer's name to its arrays: [W, b] of a dense layer, W [inputs, units],
# and [kernel, recurrent kernel, bias] of an LSTM, whose four blocks of columns are
# the input gate, the forget gate, the candidate and the output gate.


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _affine(w, x):
    return x @ w[0] + w[1]


def _fc(w, *parts):
    return np.maximum(_affine(w, np.concatenate(parts)), 0)


def linear_lstm(w, steps):
    """The last output of an LSTM with the identity for candidate and output."""
    kernel, recurrent, bias = w
    units = recurrent.shape[0]
    h, c = np.zeros(units), np.zeros(units)
    for x in steps:
        gates = x @ kernel + h @ recurrent + bias
        i, f, o = (_sigmoid(gates[k * units : (k + 1) * units]) for k in (0, 1, 3))
        c = f * c + i * gates[2 * units : 3 * units]
        h = o * c
    return h


def _max(vectors):
    return np.max(list(vectors), axis=0)


def v_only(w, phi_x, pi_x, phi_z, pi_z):
    return _affine(w["W_u"], phi_x)


def ltn(w, phi_x, pi_x, phi_z, pi_z):
    v_x = _fc(w["W_x"], phi_x)
    v_z = _max(_fc(w["W_z"], z) for z in phi_z)
    return _affine(w["W_y"], np.concatenate([v_x, v_z]))


def rtn(w, phi_x, pi_x, phi_z, pi_z):
    v_x = _fc(w["W_x"], phi_x)
    v_z = linear_lstm(w["W_RNN"], [_fc(w["W_z"], z) for z in phi_z])
    return _affine(w["W_y"], np.concatenate([v_x, v_z]))


def ltn_vecs(w, phi_x, pi_x, phi_z, pi_z):
    v_x = _fc(w["W_x"], phi_x, pi_x)
    v_z = _max(_fc(w["W_z"], z) for z in phi_z)
    return _affine(w["W_y"], np.concatenate([v_x, v_z]))


def ltn_allvecs(w, phi_x, pi_x, phi_z, pi_z):
    v_x = _fc(w["W_x"], phi_x, pi_x)
    v_z = _max(_fc(w["W_z"], z, o) for z, o in zip(phi_z, pi_z, strict=True))
    return _affine(w["W_y"], np.concatenate([v_x, v_z]))


def ltwin(w, phi_x, pi_x, phi_z, pi_z):
    v_x, u_x = _fc(w["W_x"], phi_x), _fc(w["W_xu"], pi_x)
    v_z = _max(_fc(w["W_z"], z) for z in phi_z)
    u_z = _max(_fc(w["W_zu"], o) for o in pi_z)
    return _affine(w["W_y"], np.concatenate([v_x, v_z, u_x, u_z]))


def _unit_root(phi):
    root = np.sign(phi) * np.sqrt(np.abs(phi))
    return 20 * root / max(np.linalg.norm(root), 1e-6)


def ltwin_kernel(w, phi_x, pi_x, phi_z, pi_z):
    """Not of the paper. The last column of W_kx is ‖μ‖² − 2 √φ · μ, the others (√φ − μ) · a_r."""
    root = np.sign(phi_x) * np.sqrt(np.abs(phi_x))
    *products, rest = _affine(w["W_kx"], root)
    length = np.sqrt(max(np.abs(phi_x).sum() + rest, 1e-12))
    pixels = [np.exp(-2 + 2 * min(max(product / length, -1), 1)) for product in products]
    tags = w["W_ku"][0].T @ pi_x / max(np.sqrt(pi_x @ pi_x), 1e-12)
    alike = 8 * np.array(pixels) + 3 * tags
    twin = ltwin(w, _unit_root(phi_x), pi_x, [_unit_root(z) for z in phi_z], pi_z)
    return (twin + 2 * _affine(w["W_k"], alike)) / 3


def _ltwin_rnn(w, phi_x, pi_x, phi_z, pi_z):
    v_x, u_x = _fc(w["W_x"], phi_x), _fc(w["W_xu"], pi_x)
    v_z = linear_lstm(w["W_RNN"], [_fc(w["W_z"], z) for z in phi_z])
    u_z = linear_lstm(w["W_oRNN"], [_fc(w["W_zu"], o) for o in pi_z])
    return v_x, v_z, u_x, u_z


def ltwin_rnn(w, phi_x, pi_x, phi_z, pi_z):
    return _affine(w["W_y"], np.concatenate(_ltwin_rnn(w, phi_x, pi_x, phi_z, pi_z)))


def ltwin_2rnn(w, phi_x, pi_x, phi_z, pi_z):
    return linear_lstm(w["W_fRNN"], _ltwin_rnn(w, phi_x, pi_x, phi_z, pi_z))


def lzip(w, phi_x, pi_x, phi_z, pi_z):
    steps = [_fc(w["W_x"], phi_x), _fc(w["W_xu"], pi_x)]
    for z, o in zip(phi_z, pi_z, strict=True):
        steps += [_fc(w["W_z"], z), _fc(w["W_zu"], o)]
    return linear_lstm(w["W_RNN"], steps)
