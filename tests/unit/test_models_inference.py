import json
from dataclasses import replace

import numpy as np
import pytest
from numpy.random import Generator  # noqa: TID251 - the type of the fixture

from consortium.canonical import canonical_json
from consortium.credit.tables import Calibration
from consortium.errors import ConfigurationError, DecodeError, DomainError, ShapeError
from consortium.ids import Digest
from consortium.plan import ModelKind
from models.inference import Model, block_logits, block_pd, family_logits
from models.networks import build
from models.scorecard import logits, sigmoid_det
from models.spec import BlockSpec, ModelSpec, initial_weights, parameter_count


def _spec(kind: ModelKind = ModelKind.SCORECARD, hidden: tuple[int, ...] = ()) -> ModelSpec:
    layout = (("banks", ("a", "b", "a"), (3, 2, 4)), ("platforms", ("c",), (3,)))
    blocks: list[BlockSpec] = []
    for name, families, counts in layout:
        blocks.append(
            BlockSpec(
                name=name,
                features=tuple(f"{name}{i}" for i in range(len(counts))),
                families=families,
                bin_counts=counts,
                offset=sum(block.size for block in blocks),
                size=parameter_count(kind, hidden, sum(counts)),
            )
        )
    return ModelSpec(kind=kind, hidden=hidden, blocks=tuple(blocks))


def _model(rng: Generator, spec: ModelSpec | None = None) -> Model:
    spec = spec or _spec()
    return Model(
        spec=spec,
        bins=Digest("ab" * 32),
        weights=tuple(rng.normal(size=block.size) for block in spec.blocks),
        calibration=(Calibration(alpha=-0.1, beta=1.25), Calibration(alpha=0.0, beta=1.0)),
    )


CODES = np.array([[0, 1, 3], [2, 0, 0], [1, 1, 1]], dtype=np.uint8)


def test_document_reads_back_to_the_same_bits_and_digest(rng: Generator) -> None:
    model = _model(rng)
    again = Model.from_canonical(model.to_canonical())
    assert again.spec == model.spec
    assert again.calibration == model.calibration
    for one, other in zip(model.weights, again.weights, strict=True):
        assert one.tobytes() == other.tobytes()
    assert again.digest == model.digest


def test_last_bit_of_one_weight_changes_the_digest(rng: Generator) -> None:
    model = _model(rng)
    weights = model.weights[0].copy()
    weights[4] = np.nextafter(weights[4], 1.0)
    assert replace(model, weights=(weights, model.weights[1])).digest != model.digest


@pytest.mark.parametrize("text", ["1.50", "nan", "inf", "1e400", "one", "0x1p0", "1"])
def test_number_not_in_its_one_form_is_refused(rng: Generator, text: str) -> None:
    document = json.loads(_model(rng).to_canonical())
    document["weights"][0][0] = text
    with pytest.raises(DecodeError):
        Model.from_canonical(canonical_json(document))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("weights", 0), ["0.5"]),
        (("weights",), []),
        (("calibration", 0), ["0.5"]),
        (("bins",), "abc"),
        (("spec", "blocks", 1, "offset"), 8),
        (("spec", "blocks", 1, "size"), 4),
        (("spec", "blocks", 0, "families"), ["a"]),
        (("spec", "blocks", 1, "bin_counts"), [0]),
        (("spec", "kind"), "forest"),
    ],
)
def test_document_that_contradicts_itself_is_refused(
    rng: Generator, path: tuple[str | int, ...], value: object
) -> None:
    document = json.loads(_model(rng).to_canonical())
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(DecodeError):
        Model.from_canonical(canonical_json(document))


def test_model_with_a_missing_block_or_nan_is_refused(rng: Generator) -> None:
    model = _model(rng)
    with pytest.raises(ShapeError):
        replace(model, weights=model.weights[:1])
    with pytest.raises(DomainError):
        replace(model, weights=(model.weights[0] * np.nan, model.weights[1]))
    broken = Calibration(alpha=float("nan"), beta=1.0)
    with pytest.raises(DomainError):
        replace(model, calibration=(broken, broken))


def test_pd_is_the_sigmoid_of_the_recalibrated_logit(rng: Generator) -> None:
    model = _model(rng)
    raw = block_logits(model, "banks", CODES)
    assert np.array_equal(raw, logits(model.weights[0], CODES, (3, 2, 4)))
    assert np.array_equal(block_pd(model, "banks", CODES), sigmoid_det(-0.1 + 1.25 * raw))


def test_family_parts_add_up_to_the_block(rng: Generator) -> None:
    model = _model(rng)
    parts = family_logits(model, "banks", CODES)
    assert list(parts) == ["a", "b"]
    assert np.allclose(sum(parts.values()), block_logits(model, "banks", CODES), atol=1e-14)
    assert parts["b"].tolist() == model.weights[0][3 + CODES[:, 1]].tolist()


def test_mlp_in_numpy_equals_torch(rng: Generator) -> None:
    torch = pytest.importorskip("torch")
    from models.encoding import one_hot  # noqa: PLC0415 - only with torch

    spec = _spec(ModelKind.MLP, (5, 3))
    start = initial_weights(spec, bytes(32)) + rng.normal(size=spec.size) * 0.1
    block = spec.blocks[0]
    model = replace(
        _model(rng, spec), weights=tuple(start[block.window] for block in spec.blocks)
    )
    module = build(spec, block, start[block.window])
    with torch.no_grad():
        expected = module(torch.from_numpy(one_hot(CODES, block.bin_counts)))[:, 0].numpy()
    assert np.allclose(block_logits(model, "banks", CODES), expected, atol=1e-12)
    with pytest.raises(ConfigurationError):
        family_logits(model, "banks", CODES)
    with pytest.raises(DomainError):
        block_logits(model, "banks", np.array([[0, 2, 0]], dtype=np.uint8))


def test_block_of_another_name_is_refused(rng: Generator) -> None:
    with pytest.raises(ConfigurationError):
        block_logits(_model(rng), "insurers", CODES)
