"""The NumPy truth of bilinear token pooling, against PyTorch's weighted embedding_bag."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ovkernels import bilinear_token_pool, reference


def random_case(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    num_rows, dim, num_tokens = (int(n) for n in rng.integers(1, [200, 70, 300]))
    rows_RD = rng.standard_normal((num_rows, dim)).astype(np.float32)
    indices_T4 = rng.integers(0, num_rows, (num_tokens, 4)).astype(np.int32)
    weights_T4 = rng.random((num_tokens, 4), dtype=np.float32)
    weights_T4[rng.random((num_tokens, 4)) < 0.4] = 0
    return rows_RD, indices_T4, weights_T4


@pytest.mark.parametrize("seed", range(40))
def test_equals_embedding_bag(seed: int) -> None:
    rows_RD, indices_T4, weights_T4 = random_case(seed)
    expected = torch.nn.functional.embedding_bag(
        torch.from_numpy(indices_T4).long(),
        torch.from_numpy(rows_RD),
        per_sample_weights=torch.from_numpy(weights_T4),
        mode="sum",
    ).numpy()
    out = bilinear_token_pool(rows_RD, indices_T4, weights_T4)
    assert out.dtype == np.float32 and out.shape == expected.shape
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-6, err_msg=f"seed {seed}")


def test_sums_from_first_to_last_in_float32() -> None:
    rows_RD, indices_T4, weights_T4 = random_case(1)
    out = reference.bilinear_token_pool(rows_RD, indices_T4, weights_T4)
    for token in range(len(indices_T4)):
        total_D = np.zeros(rows_RD.shape[1], dtype=np.float32)
        for source in range(4):
            total_D = total_D + weights_T4[token, source] * rows_RD[indices_T4[token, source]]
        assert np.array_equal(out[token], total_D), f"token {token}"


def test_one_source_copies_the_row_bit_by_bit() -> None:
    rows_RD, indices_T4, weights_T4 = random_case(2)
    weights_T4[:] = (1, 0, 0, 0)
    assert np.array_equal(reference.bilinear_token_pool(rows_RD, indices_T4, weights_T4), rows_RD[indices_T4[:, 0]])


def test_accumulates_half_precision_rows_in_float32() -> None:
    rows_RD = np.array([[1000.0], [0.25], [-1000.0]], dtype=np.float16)  # float16 sums would lose the quarter
    indices_T4 = np.array([[0, 1, 2, 0]], dtype=np.int32)
    weights_T4 = np.array([[1, 1, 1, 0]], dtype=np.float32)
    out = reference.bilinear_token_pool(rows_RD, indices_T4, weights_T4)
    assert out.dtype == np.float16 and out.tolist() == [[0.25]]


def test_rows_of_weight_zero_are_not_read() -> None:
    rows_RD = np.array([[np.nan, np.inf], [1.0, 2.0]], dtype=np.float32)
    indices_T4 = np.array([[1, 0, 0, 0], [0, 1, 1, 1]], dtype=np.int32)
    weights_T4 = np.array([[1, 0, 0, 0], [0, 0.5, 0, 0.5]], dtype=np.float32)
    assert reference.bilinear_token_pool(rows_RD, indices_T4, weights_T4).tolist() == [[1, 2], [1, 2]]


@pytest.mark.parametrize("bad", [-1, 5, 2**31 - 1, -(2**31)])
@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_names_the_first_token_with_an_index_outside(bad: int, weight: float) -> None:
    indices_T4 = np.zeros((6, 4), dtype=np.int32)
    indices_T4[3, 2] = indices_T4[5, 0] = bad
    weights_T4 = np.full((6, 4), weight, dtype=np.float32)
    with pytest.raises(IndexError, match=rf"^token 3: .*{bad}.* 0\.\.4$"):
        reference.bilinear_token_pool(np.ones((5, 2), dtype=np.float32), indices_T4, weights_T4)


@pytest.mark.parametrize(
    ("rows", "indices", "weights"),
    [((5,), (3, 4), (3, 4)), ((5, 2), (3, 3), (3, 3)), ((5, 2), (3, 4), (2, 4)), ((5, 2), (4,), (4,))],
)
def test_refuses_other_shapes(rows: tuple[int, ...], indices: tuple[int, ...], weights: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="token pooling needs"):
        reference.bilinear_token_pool(
            np.ones(rows, dtype=np.float32), np.zeros(indices, dtype=np.int32), np.ones(weights, dtype=np.float32)
        )


def test_no_tokens_and_no_rows() -> None:
    nothing = np.zeros((0, 4), dtype=np.int32), np.zeros((0, 4), dtype=np.float32)
    assert reference.bilinear_token_pool(np.zeros((0, 3), dtype=np.float32), *nothing).shape == (0, 3)
    with pytest.raises(IndexError):
        reference.bilinear_token_pool(
            np.zeros((0, 3), dtype=np.float32), np.zeros((1, 4), dtype=np.int32), np.ones((1, 4), dtype=np.float32)
        )
