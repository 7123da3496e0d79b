//! What an evaluation finds: one column a kind of arithmetic, side by side, and its HTML report.

pub mod html;
pub mod sequence;
mod study;
pub(crate) mod svg;
pub mod text;

pub use study::study_plot;

use crate::int8::argmax;
use crate::metrics::calibration::{self, Bin};
use crate::metrics::{self, ClassScore};
use serde::Serialize;

/// The scores of one kind of arithmetic.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Column {
    /// `float`, `fake_quantized` or `int8`.
    pub name: &'static str,
    /// Share of samples whose class was found, 0..=1.
    pub top1: f64,
    /// Mean F1 of the classes that occur, 0..=1.
    pub macro_f1: Option<f64>,
    /// Expected calibration error over 15 bins, 0..=1.
    pub ece: f64,
    /// Mean negative log likelihood of the truth, nats.
    pub nll: Option<f64>,
    /// `[truth][predicted]` counts.
    pub confusion: Vec<Vec<usize>>,
    /// Scores of each class.
    pub per_class: Vec<ClassScore>,
    /// Samples by confidence, 15 bins.
    pub reliability: Vec<Bin>,
    /// The class of each sample.
    #[serde(skip)]
    pub predicted: Vec<usize>,
}

impl Column {
    /// Scores logits `[n][n_classes]`; a sample whose truth is unknown counts as wrong.
    pub fn new(
        name: &'static str,
        labels: &[String],
        truth: &[Option<usize>],
        logits: &[Vec<f32>],
    ) -> Self {
        let predicted: Vec<usize> = logits.iter().map(|l| argmax(l).unwrap_or(0)).collect();
        let confusion = metrics::confusion(labels.len(), truth, &predicted);
        let per_class = metrics::per_class(labels, &confusion);
        let reliability = calibration::reliability(truth, &calibration::probabilities(logits));
        Self {
            name,
            top1: metrics::accuracy(truth, &predicted),
            macro_f1: metrics::macro_f1(&per_class),
            ece: calibration::expected_error(&reliability),
            nll: calibration::negative_log_likelihood(truth, logits),
            confusion,
            per_class,
            reliability,
            predicted,
        }
    }
}

/// The share of samples on which two columns agree.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Agreement {
    /// The two columns.
    pub between: [&'static str; 2],
    /// 0..=1.
    pub share: f64,
}

/// Everything that one evaluation found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluation {
    /// Samples.
    pub n: usize,
    /// Class names.
    pub labels: Vec<String>,
    /// At least one column, float first and int8 last where they are there.
    pub columns: Vec<Column>,
}

impl Evaluation {
    /// Returns the column of this name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|c| c.name == name)
    }

    /// Returns the agreement of every two columns.
    pub fn agreements(&self) -> Vec<Agreement> {
        let pairs = self.columns.iter().enumerate().flat_map(|(i, a)| {
            let one = move |b: &Column| Agreement {
                between: [a.name, b.name],
                share: metrics::agreement(&a.predicted, &b.predicted),
            };
            self.columns[i + 1..].iter().map(one)
        });
        pairs.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_agree_where_their_classes_do() {
        let labels = ["a".to_owned(), "b".to_owned()];
        let truth = [Some(0), Some(1)];
        let column = |name, logits: [[f32; 2]; 2]| {
            Column::new(name, &labels, &truth, &logits.map(|l| l.to_vec()))
        };
        let float = column("float", [[2.0, 0.0], [0.0, 2.0]]);
        let int8 = column("int8", [[2.0, 0.0], [2.0, 0.0]]);
        assert_eq!((float.top1, int8.top1), (1.0, 0.5));
        let all = Evaluation {
            n: 2,
            labels: labels.to_vec(),
            columns: vec![float, int8],
        };
        let found = all.agreements();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].between, found[0].share), (["float", "int8"], 0.5));
    }
}
