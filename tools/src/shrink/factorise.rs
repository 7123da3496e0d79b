//! A token table as a product of two: `[vocab_size, rank]` times `[rank, d_model]`, plus the mean row.
//!
//! The factors are the table's principal components, which leave the least squared error of all such products
//! (Eckart & Young 1936). They come from the `d × d` covariance by Jacobi's rotations: exact enough, and no
//! larger than the model's width whatever the vocabulary.

use super::ShrinkError;
use crate::float_model::{Embedding, FloatModel, Linear};
use ndarray::{Array2, ArrayView2, Axis};

/// Replaces a model's token table by one of `rank` columns and their projection; returns the share of the
/// table's variance that they keep.
///
/// # Errors
/// [`ShrinkError::NoTable`] or [`ShrinkError::Rank`].
pub fn factorise(model: &mut FloatModel, rank: u16) -> Result<f64, ShrinkError> {
    let d = usize::from(model.config.d_model);
    let most = model.config.d_model.saturating_sub(1);
    if !(1..=most).contains(&rank) {
        return Err(ShrinkError::Rank { found: rank, most });
    }
    let Embedding::Tokens {
        table,
        projection: projection @ None,
        ..
    } = &mut model.embedding
    else {
        return Err(ShrinkError::NoTable("--factorise-embedding"));
    };
    let rows = table.len() / d;
    let rows = ArrayView2::from_shape((rows, d), table)
        .map_err(|_| ShrinkError::NoTable("--factorise-embedding"))?;
    let mut rows = rows.mapv(f64::from);
    let mean = rows.mean_axis(Axis(0)).unwrap_or_default();
    rows -= &mean;
    let (values, vectors) = eigen(rows.t().dot(&rows));
    let mut order: Vec<usize> = (0..d).collect();
    order.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
    let kept = vectors.select(Axis(1), &order[..rank.into()]);
    *table = rows.dot(&kept).iter().map(|&x| x as f32).collect();
    *projection = Some(Linear {
        out_features: d,
        in_features: rank.into(),
        weight: kept.iter().map(|&x| x as f32).collect(),
        bias: mean.iter().map(|&x| x as f32).collect(),
    });
    model.config.embedding_rank = rank;
    let sum = |places: &[usize]| places.iter().map(|&i| values[i].max(0.0)).sum::<f64>();
    Ok(sum(&order[..rank.into()]) / sum(&order).max(1e-300))
}

/// Sweeps until nothing is left beside the diagonal, at most.
const SWEEPS: usize = 30;

/// Returns eigenvalues and eigenvectors (columns) of a symmetric matrix, by cyclic Jacobi rotations (Golub &
/// Van Loan, Matrix Computations, §8.5).
fn eigen(mut a: Array2<f64>) -> (Vec<f64>, Array2<f64>) {
    let n = a.nrows();
    // Rows are contiguous, so the vectors are kept as rows.
    let mut v = Array2::<f64>::eye(n);
    let whole: f64 = a.iter().map(|x| x * x).sum();
    for _ in 0..SWEEPS {
        let beside: f64 = a
            .indexed_iter()
            .map(|((i, j), x)| if i == j { 0.0 } else { x * x })
            .sum();
        if beside <= 1e-22 * whole {
            break;
        }
        for p in 0..n {
            for q in p + 1..n {
                rotate(&mut a, &mut v, p, q);
            }
        }
    }
    (a.diag().to_vec(), v.reversed_axes())
}

/// Rotates rows and columns `p` and `q` so that the element between them becomes 0.
fn rotate(a: &mut Array2<f64>, v: &mut Array2<f64>, p: usize, q: usize) {
    let between = a[[p, q]];
    if between == 0.0 {
        return;
    }
    let theta = (a[[q, q]] - a[[p, p]]) / (2.0 * between);
    let t = theta.signum() / (theta.abs() + libm::sqrt(theta * theta + 1.0));
    let c = 1.0 / libm::sqrt(t * t + 1.0);
    let s = t * c;
    for matrix in [&mut *a, v] {
        let (mut upper, mut lower) = matrix.view_mut().split_at(Axis(0), q);
        let (mut x, mut y) = (upper.row_mut(p), lower.row_mut(0));
        for (x, y) in x.iter_mut().zip(y.iter_mut()) {
            (*x, *y) = (c * *x - s * *y, s * *x + c * *y);
        }
    }
    // The matrix stays symmetric: what the rows did, the columns do.
    for mut row in a.rows_mut() {
        let (x, y) = (row[p], row[q]);
        (row[p], row[q]) = (c * x - s * y, s * x + c * y);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::forward;
    use crate::synthetic::{self, Random};
    use tailtune::image::{Activation, InputKind, ModelConfig, NormOrder, Pooling};

    const CONFIG: ModelConfig = ModelConfig {
        n_layers: 1,
        d_model: 12,
        n_heads: 2,
        d_ff: 8,
        seq_len: 6,
        n_classes: 2,
        input: InputKind::Tokens {
            vocab_size: 40,
            n_segments: 0,
        },
        class_token: false,
        norm: NormOrder::Post,
        activation: Activation::Gelu,
        pooling: Pooling::First,
        embed_norm: true,
        final_norm: false,
        embedding_rank: 0,
        pooler: false,
        decoder: None,
    };

    #[test]
    fn vectors_are_those_of_the_matrix() {
        let r = &mut Random::new(5);
        let b = Array2::from_shape_fn((9, 9), |_| f64::from(r.normal()));
        let a = b.t().dot(&b);
        let (values, vectors) = eigen(a.clone());
        let again = a.dot(&vectors);
        for (k, value) in values.iter().enumerate() {
            for i in 0..9 {
                assert!((again[[i, k]] - value * vectors[[i, k]]).abs() < 1e-9);
            }
        }
        let trace: f64 = values.iter().sum();
        assert!((trace - a.diag().sum()).abs() < 1e-9);
    }

    /// A table of three components and a mean is found whole; more components keep more.
    #[test]
    fn a_table_of_low_rank_stays_what_it_is() {
        let r = &mut Random::new(8);
        let mut model = synthetic::model(&CONFIG, 3);
        let components: Vec<f32> = (0..3 * 12).map(|_| r.normal()).collect();
        if let Embedding::Tokens { table, .. } = &mut model.embedding {
            for row in table.chunks_exact_mut(12) {
                let by: [f32; 3] = std::array::from_fn(|_| r.normal());
                for (c, x) in row.iter_mut().enumerate() {
                    *x = 0.3 + (0..3).map(|k| by[k] * components[12 * k + c]).sum::<f32>();
                }
            }
        }
        let mut small = model.clone();
        assert!(factorise(&mut small, 3).unwrap() > 0.999_999);
        assert!(small.parameters() < model.parameters());
        let input = synthetic::input(&CONFIG, 6, r);
        let exact = forward(&model, input.float(), &mut ()).hidden;
        let found = forward(&small, input.float(), &mut ()).hidden;
        assert!(exact.iter().zip(&found).all(|(a, b)| (a - b).abs() < 1e-4));
        let kept = factorise(&mut model.clone(), 1).unwrap();
        assert!(kept < 0.99 && kept > 0.3, "{kept}");
    }

    #[test]
    fn a_rank_that_saves_nothing_is_refused() {
        let mut model = synthetic::model(&CONFIG, 3);
        for rank in [0, 12] {
            let error = factorise(&mut model, rank).unwrap_err();
            assert!(error.to_string().contains("1 to 11"), "{error}");
        }
    }
}
