//! What an evaluation counts: accuracy, agreement, confusion, precision, recall and F1 of each
//! class, and whether the probabilities can be believed ([`calibration`]).

pub mod calibration;
pub mod sequence;

use serde::Serialize;

/// One class's scores.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassScore {
    /// Its name.
    pub label: String,
    /// Samples of it.
    pub n: usize,
    /// Share of its samples that were found.
    pub recall: Option<f64>,
    /// Share of what was taken for it that was it.
    pub precision: Option<f64>,
    /// Harmonic mean of the two; none where the class occurs in neither truth nor predictions.
    pub f1: Option<f64>,
}

/// Returns the share of predictions that equal the truth.
pub fn accuracy(truth: &[Option<usize>], predicted: &[usize]) -> f64 {
    let right = truth
        .iter()
        .zip(predicted)
        .filter(|(t, p)| **t == Some(**p))
        .count();
    right as f64 / truth.len().max(1) as f64
}

/// Returns the share of places where two predictions agree.
pub fn agreement(a: &[usize], b: &[usize]) -> f64 {
    a.iter().zip(b).filter(|(a, b)| a == b).count() as f64 / a.len().max(1) as f64
}

/// Returns `[truth][predicted]` counts; samples whose truth the model does not know are left out.
pub fn confusion(
    n_classes: usize,
    truth: &[Option<usize>],
    predicted: &[usize],
) -> Vec<Vec<usize>> {
    let mut counts = vec![vec![0; n_classes]; n_classes];
    for (t, &p) in truth.iter().zip(predicted) {
        if let Some(t) = *t {
            counts[t][p] += 1;
        }
    }
    counts
}

/// Returns each class's scores from a confusion matrix.
pub fn per_class(labels: &[String], confusion: &[Vec<usize>]) -> Vec<ClassScore> {
    let ratio = |part: usize, whole: usize| (whole > 0).then(|| part as f64 / whole as f64);
    let score = |(i, label): (usize, &String)| {
        let n: usize = confusion[i].iter().sum();
        let taken: usize = confusion.iter().map(|row| row[i]).sum();
        let right = confusion[i][i];
        ClassScore {
            label: label.clone(),
            n,
            recall: ratio(right, n),
            precision: ratio(right, taken),
            f1: ratio(2 * right, n + taken),
        }
    };
    labels.iter().enumerate().map(score).collect()
}

/// Returns the mean F1 of the classes that occur in truth or predictions; none without any.
pub fn macro_f1(scores: &[ClassScore]) -> Option<f64> {
    let f1: Vec<f64> = scores.iter().filter_map(|s| s.f1).collect();
    (!f1.is_empty()).then(|| f1.iter().sum::<f64>() / f1.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_case_by_hand() {
        let truth = [Some(0), Some(0), Some(1), None];
        let predicted = [0, 1, 1, 0];
        assert_eq!(accuracy(&truth, &predicted), 0.5);
        assert_eq!(agreement(&predicted, &[0, 1, 0, 0]), 0.75);
        let counts = confusion(2, &truth, &predicted);
        assert_eq!(counts, [[1, 1], [0, 1]]);
        let scores = per_class(&["a".into(), "b".into()], &counts);
        assert_eq!(
            (scores[0].n, scores[0].recall, scores[0].precision),
            (2, Some(0.5), Some(1.0))
        );
        assert_eq!(
            (scores[1].n, scores[1].recall, scores[1].precision),
            (1, Some(1.0), Some(0.5))
        );
        // F1 = 2·right / (n + taken): 2·1 / (2 + 1) and 2·1 / (1 + 2).
        assert_eq!(
            (scores[0].f1, scores[1].f1),
            (Some(2.0 / 3.0), Some(2.0 / 3.0))
        );
        assert_eq!(macro_f1(&scores), Some(2.0 / 3.0));
    }

    #[test]
    fn a_class_that_never_occurs_takes_no_part_in_the_mean() {
        let labels = ["a".to_owned(), "b".to_owned(), "c".to_owned()];
        let scores = per_class(&labels, &confusion(3, &[Some(0), Some(0)], &[0, 1]));
        // b was never there and was predicted once: its F1 is 0.
        assert_eq!(scores[1].f1, Some(0.0));
        assert_eq!(scores[2].f1, None);
        assert_eq!(macro_f1(&scores), Some(1.0 / 3.0));
        assert_eq!(macro_f1(&[]), None);
    }
}
